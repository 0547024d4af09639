"""Snow, frost, fog and spatter of ImageNet-C: random layers over the image."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foldtune.augment.corruptions.fields import (
    Draws,
    convolve,
    plasma,
    reference,
    resize_field,
    smear,
    smooth,
    uniform,
)

_GREY = (0.299, 0.587, 0.114)  # of red, green and blue
_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)
_ICE = (0.86, 0.93, 1.0)


def snow(images: Tensor, level: int, draws: Draws) -> Tensor:
    """Flakes that fall within 45 degrees of the vertical, twice, over a paler image."""
    mean, deviation, zoom, least, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[level]
    height, width = reference(images)
    coarse = math.ceil(height / zoom), math.ceil(width / zoom)
    # Drawn first, so that the direction does not depend on the size of the flakes.
    angle = -math.pi / 2 + uniform(draws, 1)[:, 0] * math.pi / 4
    dots = torch.stack([torch.randn(1, *coarse, generator=g) for g in draws])
    flakes = F.interpolate(
        mean + deviation * dots, size=(height, width), mode="bilinear", align_corners=True
    )
    flakes = torch.where(flakes < least, 0.0, flakes).clamp(0, 1)
    layer = resize_field(smear(flakes, angle, radius, sigma, 1.0), images)
    grey = (images * torch.tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True)
    paler = kept * images + (1 - kept) * torch.maximum(images, 1.5 * grey + 0.5)
    return paler + layer + layer.flip(2, 3)


def frost(images: Tensor, level: int, draws: Draws) -> Tensor:
    """A share of the image plus a share of ice.

    Differs from the published one IN ITS PICTURES: there, crops of six photographs of frosted
    panes, which are not ours to give away; here, drawn ice (`_ice`), another one for every image.
    The shares are the published ones; errors under this corruption are not comparable with others'.
    """
    kept, share = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[level]
    height, width = reference(images)
    ice = torch.stack([_ice(height, width, g) for g in draws])
    return kept * images + share * resize_field(ice, images)


def fog(images: Tensor, level: int, draws: Draws) -> Tensor:
    """Clouds added, and the sum brought back to the image's brightest value."""
    thick, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[level]
    height, width = reference(images)
    clouds = torch.stack([plasma(height, width, decay, g)[None] for g in draws])
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + thick * resize_field(clouds, images)) * brightest / (brightest + thick)


def spatter(images: Tensor, level: int, draws: Draws) -> Tensor:
    """Drops of water on the lens at severities 1 to 3, mud at 4 and 5.

    Differs: the outlines of drops are the edges of their mask, where the published ones come from
    Canny's detector, which finds these.
    """
    mean, deviation, sigma, least, strength, muddy = (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    )[level]
    height, width = reference(images)
    noise = torch.stack([torch.randn(1, height, width, generator=g) for g in draws])
    liquid = smooth(mean + deviation * noise, sigma)
    if muddy:
        mask = smooth((liquid > least).float(), strength)
        mask = resize_field(torch.where(mask < 0.8, 0.0, mask).clamp(max=1), images)
        return images * (1 - mask) + mask * torch.tensor(_MUD).view(3, 1, 1)
    drops = torch.where(liquid < least, 0.0, liquid)
    relief = torch.stack([_relief(one[0])[None] for one in drops])
    drops = drops * relief
    drops = strength * drops / drops.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
    return images + resize_field(drops, images) * torch.tensor(_WATER).view(3, 1, 1)


def _relief(drops: Tensor) -> Tensor:
    """How light falls on drops, (height, width) in 0..255: the distance from their outlines, up to
    20 pixels, equalised and lit from one side."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    inside = drops.numpy() > 0
    outline = inside & ~binary_erosion(inside)
    far = distance_transform_edt(~outline) if outline.any() else np.full(inside.shape, 20.0)
    third = torch.full((3, 3), 1 / 9)
    height = convolve(torch.from_numpy(np.minimum(far, 20)).float()[None, None], third)
    steps = height.long().flatten()  # whole numbers, as the published code rounds them down
    counts = torch.bincount(steps, minlength=21).float()
    below = counts.cumsum(0) - counts[counts.nonzero()[0]]
    level = (below / below[-1].clamp(min=1) * 255).clamp(0, 255)[steps].reshape(height.shape)
    light = torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
    return convolve(convolve(level, light).clamp(0, 255), third)[0, 0]


def _ice(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Drawn frost, (3, height, width): needles of three sizes in fans, denser in patches."""
    patches = plasma(height, width, 1.6, generator)
    needles = torch.zeros(height, width)
    turn = math.pi * torch.rand((), generator=generator).item()
    for number, length in enumerate((240.0, 140.0, 80.0)):
        for fan in (-0.6, 0.0, 0.6):
            field = _streaks(height, width, length, turn + fan + number, generator)
            needles = torch.maximum(needles, torch.exp(-(field.abs() / (0.06 + 0.04 * number))))
    grey = (0.55 * patches + needles * (0.15 + 0.9 * patches)).clamp(0, 1)
    return grey * torch.tensor(_ICE).view(3, 1, 1)


def _streaks(
    height: int, width: int, length: float, angle: float, generator: torch.Generator
) -> Tensor:
    """A Gaussian field of deviation 1 whose waves are long along `angle` and an eighth across it;
    where it crosses zero runs a needle."""
    noise = torch.randn(height, width, generator=generator)
    down, along = torch.meshgrid(
        torch.fft.fftfreq(height), torch.fft.rfftfreq(width), indexing="ij"
    )
    lengthwise = along * math.cos(angle) + down * math.sin(angle)
    across = down * math.cos(angle) - along * math.sin(angle)
    wave = torch.sqrt((lengthwise * length) ** 2 + (across * length / 8) ** 2)
    band = torch.exp(-0.5 * ((wave - 1) / 0.35) ** 2)
    field = torch.fft.irfft2(torch.fft.rfft2(noise) * band, s=(height, width))
    scaled: Tensor = field / field.std()
    return scaled
