"""Four noises of ImageNet-C: of heat, of few photons, of dead pixels, and relative to the light."""

from __future__ import annotations

import torch
from torch import Tensor

from foldtune.augment.corruptions.fields import Draws, each, normal


def gaussian_noise(images: Tensor, level: int, draws: Draws) -> Tensor:
    """x + c n, n standard normal for each pixel and colour."""
    return images + (0.08, 0.12, 0.18, 0.26, 0.38)[level] * normal(images, draws)


def shot_noise(images: Tensor, level: int, draws: Draws) -> Tensor:
    """Poisson(c x) / c: the light of few photons."""
    photons = (60, 25, 12, 5, 3)[level]
    return each(images, draws, lambda x, g: torch.poisson(x * photons, generator=g)) / photons


def impulse_noise(images: Tensor, level: int, draws: Draws) -> Tensor:
    """A share of all values, each colour by itself, becomes 0 or 1."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    chance = each(images, draws, lambda x, g: torch.rand(x.shape, generator=g))
    salt = (chance < share / 2).to(images)
    return torch.where(chance < share, salt, images)


def speckle_noise(images: Tensor, level: int, draws: Draws) -> Tensor:
    """x + c x n, n standard normal."""
    return images + images * (0.15, 0.2, 0.35, 0.45, 0.6)[level] * normal(images, draws)
