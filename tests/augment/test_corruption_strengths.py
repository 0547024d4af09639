"""Every severity has its published strength (make_imagenet_c.py), computed in another way."""

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from foldtune.augment.corruptions import CORRUPTIONS, corrupt

LEVELS = range(5)


def changed(name, images, level):
    """Before it is clipped and rounded to bytes."""
    draws = [torch.Generator().manual_seed(n) for n in range(len(images))]
    return CORRUPTIONS[name](images, level, draws)


def noise(name, grey, level):
    plain = torch.full((8, 3, 128, 128), grey)
    return changed(name, plain, level) - plain


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("name", "deviations"),
    [
        ("gaussian_noise", lambda x: (0.08, 0.12, 0.18, 0.26, 0.38)),
        ("speckle_noise", lambda x: [x * c for c in (0.15, 0.2, 0.35, 0.45, 0.6)]),
        ("shot_noise", lambda x: [(x / c) ** 0.5 for c in (60, 25, 12, 5, 3)]),
    ],
)
def test_noises_have_the_published_deviation(name, deviations, level):
    for grey in (0.2, 0.7):
        found = noise(name, grey, level)
        # 393,216 values: the deviation of a normal one is off by 0.11 %, of a Poisson one by less
        # than twice that.
        assert found.std().item() == pytest.approx(deviations(grey)[level], rel=0.007)
        assert abs(found.mean().item()) < 5 * deviations(grey)[level] / 627


@pytest.mark.parametrize("level", LEVELS)
def test_dead_pixels_have_the_published_share_half_of_them_white(level):
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    found = noise("impulse_noise", 0.5, level)
    for value in (-0.5, 0.5):
        # Of 393,216 values 1.5 % is 5,898 +- 77.
        assert (found == value).float().mean().item() == pytest.approx(share / 2, rel=0.05)
    assert (found.abs().unique() == torch.tensor([0.0, 0.5])).all()


@pytest.fixture(scope="module")
def colours():
    """Pixels of every kind: near greys, whose colour stays below all even twenty times as strong,
    greys, black and white among them."""
    drawn = np.random.default_rng(0).random((60, 3))
    near = 0.4 + 0.3 * drawn[:20, :1] + 0.02 * drawn[:20]
    return np.concatenate([drawn, near, [[0, 0, 0], [1, 1, 1], [0.4, 0.4, 0.4], [0.9, 0.1, 0.1]]])


def recoloured(colours, change):
    found = []
    for rgb in colours:
        hue, saturation, value = change(*colorsys.rgb_to_hsv(*rgb))
        found.append(colorsys.hsv_to_rgb(hue, np.clip(saturation, 0, 1), np.clip(value, 0, 1)))
    return np.array(found)


CHANGES = {
    "brightness": lambda level: lambda h, s, v: (h, s, v + (0.1, 0.2, 0.3, 0.4, 0.5)[level]),
    "saturate": lambda level: (
        lambda h, s, v: (
            h,
            s * (0.3, 0.1, 2, 5, 20)[level] + (0, 0, 0, 0.1, 0.2)[level],
            v,
        )
    ),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", CHANGES)
def test_value_and_saturation_change_as_in_pythons_colorsys(name, level, colours):
    images = torch.tensor(colours.T[None, :, None], dtype=torch.float32)
    found = changed(name, images, level)[0, :, 0].T.numpy()
    # float32 against float64.
    assert found == pytest.approx(recoloured(colours, CHANGES[name](level)), abs=2e-5)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.mark.parametrize("level", LEVELS)
def test_contrast_shrinks_every_distance_from_the_mean(picture, level):
    images = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    found = changed("contrast", images, level)[0].numpy()
    mean = images[0].numpy().mean((1, 2), keepdims=True)
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[level]
    assert found - mean == pytest.approx((images[0].numpy() - mean) * share, abs=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_the_gaussian_blur_is_scipys(picture, level):
    images = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    sigma = (1, 2, 3, 4, 6)[level] * 40 / 224
    wanted = [gaussian_filter(c, sigma, mode="nearest", radius=max(1, round(4 * sigma)))
              for c in images[0].numpy()]  # fmt: skip
    assert changed("gaussian_blur", images, level)[0].numpy() == pytest.approx(
        np.array(wanted), abs=1e-5
    )


@pytest.mark.parametrize("level", LEVELS)
def test_jpeg_has_the_published_quality(picture, level):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[level])
    found = corrupt(torch.from_numpy(picture)[None], "jpeg", level + 1)[0].numpy()
    assert np.array_equal(found, np.asarray(Image.open(file)))


@pytest.mark.parametrize("level", LEVELS)
def test_pixelate_keeps_the_published_share_of_the_sides(picture, level):
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    small = (int(56 * share), int(40 * share))
    wanted = Image.fromarray(picture).resize(small, Image.Resampling.BOX)
    wanted = wanted.resize((56, 40), Image.Resampling.BOX)
    found = corrupt(torch.from_numpy(picture)[None], "pixelate", level + 1)[0].numpy()
    assert np.array_equal(found, np.asarray(wanted))
