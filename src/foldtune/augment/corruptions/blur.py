"""Five blurs of ImageNet-C: out of focus, moved, zoomed, Gaussian, and seen through rough glass."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foldtune.augment.corruptions.fields import (
    Draws,
    convolve,
    gaussian,
    sample_images,
    scale,
    smear,
    uniform,
)


def gaussian_blur(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """Convolution with a Gaussian cut off at four deviations; edges repeated."""
    return gaussian(images, (1, 2, 3, 4, 6)[level] * scale(images))


def defocus_blur(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """Convolution with a disk. Differs: its edge is softened by the share of each pixel that the
    disk covers, where the published one is a hard disk blurred by a Gaussian."""
    return convolve(images, _disk((3, 4, 6, 8, 10)[level] * scale(images)))


def motion_blur(images: Tensor, level: int, draws: Draws) -> Tensor:
    """A one-sided Gaussian along a line at an angle within 45 degrees of the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    angle = uniform(draws, 1)[:, 0] * math.pi / 4
    return smear(images, angle, radius, sigma, scale(images))


def zoom_blur(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """The mean of the image and of its magnifications about the centre, up to a third larger."""
    most, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[level]
    factors = np.arange(1, most, step).tolist()
    total, still = images.clone(), torch.zeros(len(images), 2)
    for factor in factors:
        total += sample_images(images, torch.full((len(images),), 1 / factor), still)
    return total / (len(factors) + 1)


def glass_blur(images: Tensor, level: int, draws: Draws) -> Tensor:
    """A blur, pixels that take the place of others near by, and the blur again.

    From the last pixel to the first, each takes a near one's value as it is then: the published
    code says that both change places, but writes over one, and so are its images. Differs: on other
    sides than 224 the distance is a fraction of pixels, rounded by chance.
    """
    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[level]
    size, (height, width) = scale(images), images.shape[2:]
    blurred = gaussian(images, sigma * size)
    flat = blurred.flatten(2)
    moved = [_shuffle_pixels(height, width, reach * size, rounds, g) for g in draws]
    taken = torch.stack([flat[n][:, index] for n, index in enumerate(moved)])
    return gaussian(taken.reshape(images.shape), sigma * size)


def _shuffle_pixels(
    height: int, width: int, reach: float, rounds: int, generator: torch.Generator
) -> Tensor:
    """For every pixel, counted by rows, the one whose value it takes."""
    whole = reach == int(reach)
    margin = math.ceil(reach) + (not whole)
    index = list(range(height * width))
    rows = torch.arange(height - margin, margin, -1)
    columns = torch.arange(width - margin, margin, -1)
    places = (rows[:, None] * width + columns).flatten().tolist()
    for _ in range(rounds):
        drawn = torch.rand(4, len(rows), len(columns), generator=generator)
        # Whole distances are -reach to reach - 1, evenly, as published.
        steps = torch.floor((2 * drawn[:2] - 1) * reach + (0 if whole else drawn[2:])).long()
        near = (steps[0] * width + steps[1]).flatten().tolist()
        for place, step in zip(places, near, strict=True):
            index[place] = index[place + step]
    return torch.tensor(index)


def _disk(radius: float, fine: int = 9) -> Tensor:
    """The share of each pixel that a centred disk covers, on a grid `fine` times as fine; sum 1."""
    reach = math.ceil(radius)
    side = 2 * reach + 1
    at = (torch.arange(side * fine) + 0.5) / fine - side / 2
    inside = (at[:, None] ** 2 + at[None] ** 2 <= radius**2).float()
    covered = F.avg_pool2d(inside[None, None], fine)[0, 0]
    return covered / covered.sum()
