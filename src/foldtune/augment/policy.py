"""RandAugment, colour jitter and random erasing of a batch, each image by its own draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from foldtune.augment import operations as op
from foldtune.augment.operations import Operation
from foldtune.core.tensors import send

LEVELS = 30  # magnitudes run from 0 to this
_LAYERS = 2  # operations an image gets


Choice = tuple[Operation | None, float, bool]  # what, how strongly, and whether it has a sign


def space(magnitude: float, shape: Sequence[int]) -> dict[str, Choice]:
    """RandAugment's operations at a magnitude, for images of a height and width.

    The strengths are those of torchvision's RandAugment with 31 bins.
    """
    share = magnitude / LEVELS
    factor = 0.9 * share
    return {
        "identity": (None, 0.0, False),
        "shear_x": (op.shear_x, 0.3 * share, True),
        "shear_y": (op.shear_y, 0.3 * share, True),
        "translate_x": (op.translate_x, 150 / 331 * shape[1] * share, True),
        "translate_y": (op.translate_y, 150 / 331 * shape[0] * share, True),
        "rotate": (op.rotate, 30 * share, True),
        "brightness": (op.brightness, factor, True),
        "color": (op.saturation, factor, True),
        "contrast": (op.contrast, factor, True),
        "sharpness": (op.sharpness, factor, True),
        "posterize": (op.posterize, 8.0 - round(magnitude / (LEVELS / 4)), False),
        "solarize": (op.solarize, 1.0 - share, False),
        "autocontrast": (op.autocontrast, 0.0, False),
        "equalize": (op.equalize, 0.0, False),
    }


_FACTORS = {"brightness", "color", "contrast", "sharpness"}  # 1 is no change


def rand_augment(images: Tensor, magnitude: float, generator: torch.Generator) -> Tensor:
    """Two operations in sequence for each image (Cubuk et al., NeurIPS 2020).

    images: (batch, 3, height, width) float in 0..1; magnitude: 0 to 30. Every image draws its own
    operations and signs. An operation is applied at once to all images that drew it.
    """
    choices = list(space(magnitude, images.shape[2:]).items())
    for _ in range(_LAYERS):
        drawn = torch.randint(len(choices), (len(images),), generator=generator)
        signs = torch.randint(2, (len(images),), generator=generator) * 2.0 - 1
        out = images.clone()
        for number, (name, (operation, strength, signed)) in enumerate(choices):
            rows = torch.nonzero(drawn == number)[:, 0]
            if operation is None or not len(rows):
                continue
            value = strength * signs[rows] if signed else torch.full((len(rows),), strength)
            value = value + 1 if name in _FACTORS else value
            value, rows = send(value, images.device, images.dtype), send(rows, images.device)
            out[rows] = operation(images[rows], value)
        images = out
    return images


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation, each by a factor of its own in 1 +- strength.

    images: (batch, 3, height, width) float in 0..1. In this order for all images (torchvision
    shuffles it for each).
    """
    for operation in (op.brightness, op.contrast, op.saturation):
        factor = 1 + strength * (2 * torch.rand(len(images), generator=generator) - 1)
        images = operation(images, send(factor.clamp(min=0), images.device, images.dtype))
    return images


def erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Fill a box of 2 to 33 % of the area with noise, in `probability` of the images.

    Random erasing (Zhong et al., AAAI 2020) with the ranges of timm and torchvision: aspect from
    0.3 to 3.3, log-uniform; normal noise a pixel and colour (of std 1 about the mean once images
    are normalised: here about 0.5 by 0.25). Of ten boxes drawn the first that fits is taken.
    """
    count, _, height, width = images.shape
    draws = torch.rand(4, count, 10, generator=generator, dtype=torch.float64)
    area = (0.02 + 0.31 * draws[0]) * height * width
    aspect = torch.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * draws[1])
    high, wide = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (high < height) & (wide < width) & (high > 0) & (wide > 0)
    first = fits.int().argmax(1, keepdim=True)
    high, wide, top, left, fit = (
        v.gather(1, first)[:, 0] for v in (high, wide, draws[2], draws[3], fits)
    )
    chosen = (torch.rand(count, generator=generator) < probability) & fit
    top, left = (top * (height - high + 1)).floor(), (left * (width - wide + 1)).floor()
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top[:, None]) & (rows < (top + high)[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    box = inside_rows[:, :, None] & inside_columns[:, None, :] & chosen[:, None, None]
    # One sheet of noise for the batch: boxes lie elsewhere, and drawing for each image takes as
    # long on the CPU as the rest together.
    noise = torch.randn(images.shape[1:], generator=generator) * 0.25 + 0.5
    there = send(box[:, None], images.device)
    return torch.where(there, send(noise, images.device, images.dtype), images)
