"""Each operation equals torchvision's on every image; policies draw for each image by itself."""

import foldtune  # noqa: F401  isort: skip  (torchvision needs its operators declared)

import math

import pytest
import torch

from foldtune.augment import operations as op
from foldtune.augment.batch import AUGMENTATIONS, augment, parse_kind
from foldtune.augment.policy import LEVELS, erase, jitter, rand_augment, space
from foldtune.errors import InputError
from foldtune.torchvision_ops import declare_missing_operators

SIDES = (20, 28)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    noise = torch.rand(6, 3, 5, 7, generator=seeded(3))
    smooth = torch.nn.functional.interpolate(noise, SIDES, mode="bicubic").clamp(0, 1)
    smooth[5] = 0.25  # a flat one
    return smooth


def functions():
    declare_missing_operators()
    from torchvision.transforms.v2 import functional as tv

    def shear(x, s, axis):
        degrees = [math.degrees(math.atan(s)), 0.0]
        degrees = degrees if axis == 0 else degrees[::-1]
        return tv.affine(x, angle=0, translate=[0, 0], scale=1, shear=degrees, center=[0, 0])

    def move(x, s, axis):
        by = [int(s), 0] if axis == 0 else [0, int(s)]
        return tv.affine(x, angle=0, translate=by, scale=1, shear=[0, 0])

    return {
        "brightness": (op.brightness, tv.adjust_brightness, 0.4, 1.7),
        "saturation": (op.saturation, tv.adjust_saturation, 0.0, 1.8),
        "contrast": (op.contrast, tv.adjust_contrast, 0.2, 1.9),
        "sharpness": (op.sharpness, tv.adjust_sharpness, 0.1, 1.9),
        "posterize": (op.posterize, lambda x, s: tv.posterize(x, int(s)), 4, 7),
        "solarize": (op.solarize, tv.solarize, 0.3, 0.8),
        "autocontrast": (op.autocontrast, lambda x, _: tv.autocontrast(x), 0, 1),
        "equalize": (op.equalize, lambda x, _: tv.equalize(x), 0, 1),
        "shear_x": (op.shear_x, lambda x, s: shear(x, s, 0), -0.3, 0.25),
        "shear_y": (op.shear_y, lambda x, s: shear(x, s, 1), -0.3, 0.25),
        "translate_x": (op.translate_x, lambda x, s: move(x, s, 0), -9.4, 6.7),
        "translate_y": (op.translate_y, lambda x, s: move(x, s, 1), -9.4, 6.7),
        "rotate": (op.rotate, tv.rotate, -25.0, 17.0),
    }


@pytest.mark.parametrize("name", functions())
def test_an_operation_is_torchvisions_with_each_images_strength(images, name):
    ours, theirs, low, high = functions()[name]
    strengths = torch.linspace(low, high, len(images))
    if name == "posterize":
        strengths = torch.tensor([1.0, 2, 4, 5, 7, 8])
    found = ours(images, strengths)
    expected = torch.stack([theirs(x, float(s)) for x, s in zip(images, strengths, strict=True)])
    apart = (found - expected).abs()
    if name in ("shear_x", "shear_y", "rotate"):
        # Where a sample lies midway between two pixels, rounding decides which is the nearest.
        assert (apart.amax(1) > 1e-5).float().mean() < 0.01
    else:
        assert apart.max() < 2e-6


@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_strengths_are_those_of_torchvisions_randaugment(magnitude):
    declare_missing_operators()
    from torchvision.transforms.v2 import RandAugment

    theirs = RandAugment()._AUGMENTATION_SPACE
    names = {"shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX",
             "translate_y": "TranslateY", "autocontrast": "AutoContrast"}  # fmt: skip
    ours = space(magnitude, SIDES)
    assert {names.get(n, n.capitalize()) for n in ours} == set(theirs)
    for name, (_, strength, signed) in ours.items():
        levels, expected_sign = theirs[names.get(name, name.capitalize())]
        values = levels(LEVELS + 1, *SIDES)
        assert signed == expected_sign
        if values is not None:
            assert strength == pytest.approx(float(values[magnitude]), abs=1e-6)


def test_every_image_draws_its_own_operations(images):
    same = images[:1].expand(200, -1, -1, -1)
    changed = rand_augment(same, 9, seeded())
    assert len({tuple(x.flatten()[::17].tolist()) for x in changed}) > 60
    # Sampling may give white a unit of rounding too much, and solarizing then black one too little.
    assert changed.min() >= -1e-6
    assert changed.max() <= 1 + 1e-6


@pytest.mark.parametrize("kinds", [(kind,) for kind in AUGMENTATIONS] + [AUGMENTATIONS])
def test_the_same_seed_draws_the_same(images, kinds):
    one, again, other = (augment(images, kinds, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == images.shape


def test_magnitude_or_strength_zero_changes_little(images):
    assert torch.allclose(jitter(images, 0, seeded()), images, atol=1e-6)
    assert torch.equal(erase(images, 0, seeded()), images)


def test_erasing_fills_one_box_of_the_stated_area():
    grey = torch.full((400, 3, *SIDES), 5.0)
    boxes = (erase(grey, 0.5, seeded()) != 5).any(1)
    erased = boxes.flatten(1).any(1)
    assert 0.35 < erased.float().mean() < 0.6  # of half, some boxes never fit
    shares = boxes[erased].float().mean((1, 2))
    assert 0.015 < shares.min() < shares.max() < 0.37
    for box in boxes[erased][:50]:
        rows, columns = box.any(1), box.any(0)
        assert torch.equal(box, rows[:, None] & columns[None, :])


def test_what_is_erased_is_noise_about_the_middle():
    erased = erase(torch.full((300, 3, 32, 32), 5.0), 1.0, seeded())
    noise = erased[erased != 5]
    # One sheet of 3,072 draws serves the batch: the mean is off by 0.0045, the deviation by 0.0032.
    assert noise.mean().item() == pytest.approx(0.5, abs=0.02)
    assert noise.std().item() == pytest.approx(0.25, abs=0.015)


def test_boxes_of_small_images_may_be_one_pixel_high_or_wide():
    boxes = (erase(torch.full((400, 3, 6, 6), 5.0), 1.0, seeded()) != 5).any(1)
    high, wide = boxes.any(2).sum(1), boxes.any(1).sum(1)
    for side in (high, wide):
        assert set(side.tolist()) >= {1, 2, 3, 4}
        assert side.max() < 6


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("crop:0.08", ("crop", 0.08)), ("flip", ("flip", None)), ("erase:1", ("erase", 1.0))],
)
def test_a_number_behind_a_name_is_its_strength(kind, expected):
    assert parse_kind(kind) == expected


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("randaugment:31", "randaugment takes a number from 0 to 30"),
        ("crop:0", "crop takes a number from 0 to 1"),
        ("erase:x", "'erase:x' is out of range"),
        ("flip:1", "flip takes no number"),
        ("ranaugment", "choose from: randaugment"),
    ],
)
def test_a_wrong_augmentation_is_refused(kind, message):
    with pytest.raises(InputError, match=message):
        parse_kind(kind)


def test_squash_is_torchvisions_resize_of_the_picture():
    declare_missing_operators()
    import numpy as np
    from torchvision.transforms import v2

    from data.conftest import picture
    from foldtune.data.store.decode import Fit

    whole = picture(3, (300, 177))
    for name, mode in (("bicubic", v2.InterpolationMode.BICUBIC),
                       ("bilinear", v2.InterpolationMode.BILINEAR)):  # fmt: skip
        theirs = v2.Resize((224, 224), interpolation=mode)(whole)
        assert (np.asarray(Fit(224, "squash", name).apply(whole)) == np.asarray(theirs)).all()


@pytest.mark.parametrize("shape", [(300, 177), (40, 60)])
def test_plain_bilinear_reads_four_pixels_as_tensorflow_does(shape):
    import numpy as np

    from data.conftest import picture
    from foldtune.data.store.decode import Fit

    whole = picture(3, shape)
    pixels = torch.tensor(np.asarray(whole)).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(pixels, (64, 64), mode="bilinear")[0]
    found = np.asarray(Fit(64, "squash", "bilinear-plain").apply(whole)).transpose(2, 0, 1)
    assert np.abs(found - expected.numpy()).max() <= 1  # Pillow rounds to whole values
