"""Augmentation of whole batches on their device, for `distil_micro.py`.

The product's own augmentations (foldtune.augment.batch) draw each image's own crop as torchvision
does, image by image where they must; here one sampling does crop, flip, rotation and shear for
the whole batch, as a card that takes 30,000 images a second needs it. Draws are made on the CPU.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROTATION = math.radians(17)
SHEAR = 0.25


def warped(images: Tensor, side: int, smallest: float, draw: torch.Generator) -> Tensor:
    """Random resized crop and flip of each, rotation and shear of 30 %: (batch, 3, side, side)."""
    batch = len(images)
    area = _uniform(batch, smallest, 1.0, draw)
    ratio = _uniform(batch, math.log(3 / 4), math.log(4 / 3), draw).exp()
    across = (area * ratio).sqrt().clamp(max=1.0)
    down = (area / ratio).sqrt().clamp(max=1.0)
    x, y = (_uniform(batch, -1, 1, draw) * (1 - part) for part in (across, down))
    flip = 1 - 2.0 * (torch.rand(batch, generator=draw) < 0.5)
    bent = (torch.rand(batch, generator=draw) < 0.3).float()
    angle = _uniform(batch, -ROTATION, ROTATION, draw) * bent
    shear = _uniform(batch, -SHEAR, SHEAR, draw) * bent
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([across * flip * cos, across * (shear * cos - sin), x], 1),
            torch.stack([down * flip * sin, down * (shear * sin + cos), y], 1),
        ],
        1,
    ).to(images.device)
    grid = F.affine_grid(theta, [batch, images.shape[1], side, side], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def recoloured(images: Tensor, draw: torch.Generator, share: float = 0.6) -> Tensor:
    """Brightness, contrast and saturation of `share` of the images within 1 +- 0.4."""
    chosen = (torch.rand(len(images), generator=draw) < share).float()

    def factor() -> Tensor:
        drawn = 1 + _uniform(len(images), -0.4, 0.4, draw) * chosen
        return drawn.view(-1, 1, 1, 1).to(images.device)

    images = images * factor()
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factor()
    grey = images.mean(1, keepdim=True)
    return (grey + (images - grey) * factor()).clamp(0, 1)


def erased(images: Tensor, draw: torch.Generator, share: float = 0.25) -> Tensor:
    """A box of the mean colour, 2 to 20 % of the area, in `share` of the images."""
    chosen = torch.rand(len(images), generator=draw) < share
    box = _boxes(images.shape, _uniform(len(images), 0.02, 0.2, draw), draw)
    box &= chosen.view(-1, 1, 1, 1)
    return torch.where(box.to(images.device), images.mean((2, 3), keepdim=True), images)


def mixed(
    images: Tensor, target: Tensor, settings: Any, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mixup, cutmix, or neither, by the settings' shares; targets in proportion."""
    luck = float(torch.rand((), generator=draw))
    other = torch.randperm(len(images), generator=draw).to(images.device)
    if luck < settings.mixup:
        # A Beta(0.4, 0.4) from two gammas, since torch's Beta takes no generator.
        a, b = torch._standard_gamma(torch.full((2,), 0.4), generator=draw)
        kept = float(a / (a + b).clamp(min=1e-9))
        return images.lerp(images[other], 1 - kept), target.lerp(target[other], 1 - kept)
    if luck < settings.mixup + settings.cutmix:
        box = _boxes((1, *images.shape[1:]), torch.rand(1, generator=draw), draw)
        kept = 1 - box.float().mean().item()
        images = torch.where(box.to(images.device), images[other], images)
        return images, target.lerp(target[other], 1 - kept)
    return images, target


def _boxes(shape: tuple[int, ...], area: Tensor, draw: torch.Generator) -> Tensor:
    """Square boxes of these shares of the area, anywhere: (batch, 1, height, width) bool."""
    half = area.sqrt().view(-1, 1, 1, 1) / 2
    x, y = (torch.rand(len(area), 1, 1, 1, generator=draw) for _ in range(2))
    across = torch.arange(shape[3]).view(1, 1, 1, -1) / shape[3]
    down = torch.arange(shape[2]).view(1, 1, -1, 1) / shape[2]
    return ((across - x).abs() < half) & ((down - y).abs() < half)


def _uniform(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=draw)
