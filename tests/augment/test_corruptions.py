import numpy as np
import pytest
import torch

from foldtune.augment.corruptions import CORRUPTIONS, corrupt, parse_corruptions
from foldtune.augment.corruptions.fields import plasma, sample_images, smooth
from foldtune.errors import InputError

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
BLURS = ("gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur")
WEATHER = ("snow", "frost", "fog", "spatter")


@pytest.fixture(scope="module")
def pictures():
    """Smooth colour ramps with an edge, (3, 64, 64, 3) uint8."""
    y, x = np.mgrid[:64, :64] / 63
    ramp = np.stack([x, y, 0.5 + 0.3 * (x > 0.5)], -1)
    return torch.from_numpy((np.stack([ramp, ramp[::-1], 1 - ramp]) * 200 + 20).astype(np.uint8))


def error(a, b):
    return float((a.float() - b.float()).pow(2).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_and_type_stay_and_the_image_changes(name, pictures):
    out = corrupt(pictures, name, 3)
    assert out.shape == pictures.shape
    assert out.dtype == torch.uint8
    assert error(out, pictures) > 0


# Saturation first falls, then rises; blocks of pixelate that fall on an edge do no harm; glass has
# now more rounds, now farther pixels; ice gets darker, too, see below; warps change their kind.
UNEVEN = {"saturate", "pixelate", "glass_blur", "frost", "elastic_transform"}


@pytest.mark.parametrize("name", sorted({*CORRUPTIONS} - UNEVEN))
def test_each_severity_is_worse_than_the_one_before(name, pictures):
    errors = [error(corrupt(pictures, name, s), pictures) for s in (1, 2, 3, 4, 5)]
    assert errors == sorted(errors)


@pytest.mark.parametrize(
    ("name", "levels"), [("glass_blur", (1, 3, 5)), ("elastic_transform", (3, 4, 5))]
)
def test_severities_of_one_kind_are_each_worse(name, levels, pictures):
    errors = [error(corrupt(pictures, name, s), pictures) for s in levels]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_frost_hides_more_of_the_image_at_each_severity(pictures):
    def likeness(severity):
        both = torch.stack([pictures.flatten(), corrupt(pictures, "frost", severity).flatten()])
        return float(torch.corrcoef(both.float())[0, 1])

    found = [likeness(s) for s in (1, 2, 3, 4, 5)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_small_and_oblong_images_stay_recognisable(name, shape):
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    grey = (60 + 120 * (np.hypot(y - 0.3, x - 0.4) < 0.2)).astype(np.uint8)
    images = torch.from_numpy(np.repeat(grey[None, :, :, None], 3, 3))
    out = corrupt(images, name, 3)
    assert out.shape == images.shape
    both = torch.stack([images.flatten(), out.flatten()]).float()
    assert float(torch.corrcoef(both)[0, 1]) > 0.3


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_picture_comes_out_the_same_in_every_batch_and_order(name, pictures):
    alone = corrupt(pictures[1:2], name, 4)
    assert torch.equal(corrupt(pictures.flip(0), name, 4)[1:2], alone)
    assert torch.equal(corrupt(pictures, name, 4)[1:2], alone)


RANDOM = (*NOISES, "glass_blur", "motion_blur", *WEATHER, "elastic_transform")


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_draws_anew(name, pictures):
    assert not torch.equal(corrupt(pictures, name, 2), corrupt(pictures, name, 2, seed=1))


def test_gaussian_noise_has_the_published_deviation():
    grey = torch.full((4, 64, 64, 3), 128, dtype=torch.uint8)
    noise = corrupt(grey, "gaussian_noise", 2).float() / 255 - 128 / 255
    assert noise.std() == pytest.approx(0.12, rel=0.02)
    assert abs(noise.mean()) < 0.002


def test_shot_noise_has_the_variance_of_photons():
    grey = torch.full((4, 64, 64, 3), 128, dtype=torch.uint8)
    noise = corrupt(grey, "shot_noise", 1).float() / 255
    assert noise.var() == pytest.approx(128 / 255 / 60, rel=0.05)


def test_impulse_noise_hits_the_published_share():
    grey = torch.full((4, 64, 64, 3), 128, dtype=torch.uint8)
    hit = corrupt(grey, "impulse_noise", 4)
    assert ((hit == 0) | (hit == 255)).float().mean() == pytest.approx(0.17, rel=0.05)


@pytest.mark.parametrize("name", BLURS)
def test_blurs_keep_a_plain_area(name):
    plain = torch.full((1, 32, 32, 3), 77, dtype=torch.uint8)
    assert torch.equal(corrupt(plain, name, 5), plain)


def test_motion_blur_smears_a_dot_to_one_side_within_45_degrees():
    dot = torch.zeros(1, 225, 225, 3, dtype=torch.uint8)
    dot[:, 112, 112] = 255
    y, x = torch.nonzero(corrupt(dot, "motion_blur", 1)[0, :, :, 0]).T - 112
    assert len(x) > 5
    assert (x.max() <= 1) or (x.min() >= -1)
    assert (y.abs() <= x.abs() + 1).all()


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "glass_blur"])
def test_lengths_scale_with_the_side(name):
    # A step edge blurred at 224 and at 56 pixels has the same width as a share of the image.
    def width(side):
        edge = torch.zeros(1, side, side, 3, dtype=torch.uint8)
        edge[:, :, side // 2 :] = 255
        row = corrupt(edge, name, 5)[0, :, :, 0].float().mean(0) / 255
        return float(((row > 0.1) & (row < 0.9)).float().mean())

    assert width(56) == pytest.approx(width(224), abs=2 / 56)  # whole pixels


@pytest.mark.parametrize("name", WEATHER)
def test_a_random_layer_looks_the_same_at_every_size(name):
    # The same layer on grey at 224 and at 112 pixels: shrunk, the one is nearly the other.
    def layer(side):
        grey = torch.full((1, 3, side, side), 0.4)
        draws = [torch.Generator().manual_seed(1)]
        return CORRUPTIONS[name](grey, 4, draws).clamp(0, 1)

    small, large = layer(112), torch.nn.functional.avg_pool2d(layer(224), 2)
    assert float((small - large).abs().mean()) < 0.03  # a triangle against a box, of thin lines
    assert float(large.std()) > 0.03


def test_fog_keeps_the_brightest_value_within_reach():
    grey = torch.full((2, 64, 64, 3), 200, dtype=torch.uint8)
    out = corrupt(grey, "fog", 1)
    assert out.max() <= 200  # (x + c m) max / (max + c), with m in 0..1
    assert out.min() >= int(200 * 200 / (200 + 1.5 * 255)) - 1


def test_plasma_spans_zero_to_one_and_is_rougher_where_displacement_falls_slowly():
    def roughness(decay):
        clouds = plasma(64, 48, decay, torch.Generator().manual_seed(0))
        assert clouds.shape == (64, 48)
        assert clouds.min() >= 0
        assert clouds.max() <= 1
        return float(clouds.diff(dim=0).abs().mean())

    assert roughness(1.4) > roughness(2.0)


def test_reading_an_image_where_it_lies_gives_it_back_and_a_pixel_on_moves_it():
    images = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    still, step = torch.zeros(2, 2), torch.tensor([[2 / 12, 0.0]] * 2)
    # The grid of samples is float32.
    assert torch.allclose(sample_images(images, torch.ones(2), still), images, atol=1e-5)
    moved = sample_images(images, torch.ones(2), step)
    assert torch.allclose(moved[..., :-1], images[..., 1:], atol=1e-5)


def test_smoothing_is_scipys_gaussian():
    from scipy.ndimage import gaussian_filter

    field = torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(0))
    expected = [gaussian_filter(f.numpy(), 2.5, mode="reflect", truncate=8) for f in field]
    assert np.allclose(smooth(field, 2.5), expected, atol=1e-5)


def test_mud_is_brown_and_water_is_pale(pictures):
    black = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    water, mud = (corrupt(black, "spatter", s)[0].float() for s in (3, 5))
    assert water.mean((0, 1))[2] > water.mean((0, 1))[0] > 0  # more blue than red
    assert mud.amax((0, 1)).tolist() == pytest.approx([63, 42, 20], abs=1)


def test_an_elastic_transform_moves_pixels_and_makes_no_colours(pictures):
    for severity in (1, 5):
        out = corrupt(pictures, "elastic_transform", severity)
        assert out.amin() >= pictures.amin()
        assert out.amax() <= pictures.amax()


def test_brightness_raises_the_value_and_keeps_the_hue():
    colour = torch.tensor([100, 50, 0], dtype=torch.uint8).expand(1, 4, 4, 3)
    out = corrupt(colour, "brightness", 2)[0, 0, 0].tolist()
    assert out == [151, 76, 0]  # 100 + 0.2 * 255, at the same ratios
    black = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    assert corrupt(black, "brightness", 1)[0, 0, 0].tolist() == [26, 26, 26]


def test_saturation_times_a_factor_keeps_the_value():
    colour = torch.tensor([200, 150, 100], dtype=torch.uint8).expand(1, 4, 4, 3)
    out = corrupt(colour, "saturate", 1)[0, 0, 0].tolist()
    assert out == [200, 185, 170]  # what is missing from 200, times 0.3


def test_contrast_keeps_the_mean(pictures):
    out = corrupt(pictures, "contrast", 1)
    means = (pictures.float().mean((1, 2)) - out.float().mean((1, 2))).abs()
    assert means.max() < 0.5
    assert float(out.float().std()) == pytest.approx(0.4 * float(pictures.float().std()), rel=0.4)


def test_pixelate_leaves_blocks(pictures):
    out = corrupt(pictures, "pixelate", 5)
    assert torch.equal(out[:, ::4, ::4], out[:, 3::4, 3::4])  # a quarter of the side is left


@pytest.mark.parametrize(
    ("asked", "count"), [(["all"], 95), (["jpeg"], 5), (["jpeg:2", "jpeg"], 5), (["all:3"], 19)]
)
def test_names_and_severities_are_read(asked, count):
    assert len(parse_corruptions(asked)) == count


@pytest.mark.parametrize(
    ("asked", "words"),
    [("jpg", "choose from: jpeg"), ("jpeg:6", "none of 1 to 5"), ("jpeg:", "none of 1 to 5")],
)
def test_unknown_names_and_severities_are_refused(asked, words):
    with pytest.raises(InputError, match=words):
        parse_corruptions([asked])


def test_unknown_corruptions_of_a_batch_are_refused(pictures):
    with pytest.raises(InputError, match="unknown corruption"):
        corrupt(pictures, "mist", 1)
    with pytest.raises(InputError, match="none of 1 to 5"):
        corrupt(pictures, "jpeg", 0)
