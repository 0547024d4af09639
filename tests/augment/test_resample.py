"""Crop, resize and flip of bytes: what the reference gives, drawn per image, repeatable."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from foldtune.augment.resample import Resample, resample
from foldtune.errors import InputError

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
HALF = (0.5, 0.5, 0.5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch():
    return torch.randint(0, 256, (6, 20, 28, 3), dtype=torch.uint8, generator=seeded(9))


def planes(batch):
    return batch.permute(0, 3, 1, 2).float() / 255


def plain(batch, boxes, side):
    return resample(batch, boxes.expand(len(batch), 4), side, torch.zeros(len(batch)).bool())


@pytest.mark.parametrize("side", [8, 20, 24, 40])
def test_a_whole_image_is_resized_as_torch_does_it(batch, side):
    expected = F.interpolate(planes(batch), size=(side, side), mode="bicubic", antialias=True)
    # Sums of at most 28 float32 products.
    assert torch.allclose(plain(batch, WHOLE, side), expected.clamp(0, 1), atol=2e-5)


def test_a_smooth_picture_is_resized_as_pillow_does_it():
    ramp = np.linspace(40, 200, 64)[:, None, None] + np.linspace(0, 40, 64)[None, :, None]
    picture = np.repeat(ramp, 3, axis=2).astype(np.uint8)
    expected = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC))
    result = 255 * plain(torch.from_numpy(picture)[None], WHOLE, 32)[0].permute(1, 2, 0)
    # Pillow rounds to bytes after each of the two directions.
    assert np.abs(result.numpy() - expected).max() <= 1


def test_the_same_side_gives_the_bytes_back():
    batch = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8, generator=seeded())
    assert torch.allclose(plain(batch, WHOLE, 16), planes(batch), atol=1e-6)


def test_a_box_on_pixel_borders_is_that_crop_resized(batch):
    boxes = torch.tensor([[4 / 20, 7 / 28, 12 / 20, 12 / 28]])
    crop = planes(batch)[:, :, 4:16, 7:19]
    expected = F.interpolate(crop, size=(24, 24), mode="bicubic", antialias=True).clamp(0, 1)
    # At the rim the reference knows no pixel beside the box.
    inside = (..., slice(4, -4), slice(4, -4))
    assert torch.allclose(plain(batch, boxes, 24)[inside], expected[inside], atol=2e-5)


def test_mirrored_is_flipped(batch):
    boxes = torch.tensor([[0.1, 0.2, 0.7, 0.6]]).repeat(6, 1)
    mirrored = torch.tensor([True, False] * 3)
    result, usual = resample(batch, boxes, 10, mirrored), plain(batch, boxes, 10)
    # Sums of at most 28 float32 products, which a mirrored matrix adds up in another order.
    assert torch.allclose(result[::2], usual[::2].flip(3), atol=2e-5)
    assert torch.allclose(result[1::2], usual[1::2], atol=2e-5)


def test_draws_repeat_and_differ_between_images():
    one = torch.randint(0, 256, (1, 16, 16, 3), dtype=torch.uint8, generator=seeded())
    batch, prepare = one.repeat(8, 1, 1, 1), Resample(HALF, HALF, 8)
    assert torch.equal(prepare(batch, seeded(4)), prepare(batch, seeded(4)))
    assert len(torch.unique(prepare(batch, seeded(4)), dim=0)) == 8


def test_without_a_generator_it_resizes_and_normalises(batch):
    result = Resample(HALF, HALF).at(8)(batch, None)
    assert torch.allclose(result, plain(batch, WHOLE, 8) * 2 - 1, atol=1e-6)
    assert Resample(HALF, HALF)(batch, None).shape == (6, 3, 20, 20)


def test_what_is_no_batch_of_bytes_is_refused(batch):
    with pytest.raises(InputError, match=r"float32 images must be in 0\.\.1, but reaches 255"):
        plain(batch.float(), WHOLE, 8)
