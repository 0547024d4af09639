"""Operations on a batch of images, each image by its own strength, on the device that holds it.

images: (batch, 3, height, width), float in 0..1; strength: (batch,). Each equals torchvision's
function of the same name on a float tensor, image by image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]


def _blend(one: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    """other + strength * (one - other), within 0..1."""
    ratio = strength.view(-1, 1, 1, 1)
    return (ratio * one + (1 - ratio) * other).clamp(0, 1)


def grey(images: Tensor) -> Tensor:
    """Luma of ITU-R 601, one channel."""
    red, green, blue = images.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    return (images * strength.view(-1, 1, 1, 1)).clamp(0, 1)


def saturation(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(images, grey(images), strength)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(images, grey(images).mean((1, 2, 3), keepdim=True), strength)


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with a 3 x 3 smoothing that leaves the border as it is."""
    if min(images.shape[2:]) <= 2:
        return images
    kernel = images.new_ones(3, 1, 3, 3)
    kernel[:, :, 1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, kernel / 13, groups=3)
    return _blend(images, smooth, strength)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits` of 8."""
    levels = 2.0 ** bits.view(-1, 1, 1, 1)
    return (images * levels).floor().clamp(max=levels - 1) / levels


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is at or above the threshold."""
    return torch.where(images >= threshold.view(-1, 1, 1, 1), 1 - images, images)


def autocontrast(images: Tensor, _strength: Tensor) -> Tensor:
    """Stretch each colour to 0..1; a flat colour stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high == low
    scale = torch.where(flat, 1.0, high - low)
    return torch.where(flat, images, (images - low) / scale).clamp(0, 1)


def equalize(images: Tensor, _strength: Tensor) -> Tensor:
    """Level the histogram of each colour over 256 values, as Pillow does."""
    values = (images * (256 - 1e-3)).long().flatten(0, 1).flatten(1)  # (batch * 3, pixels)
    counts = torch.zeros(len(values), 256, device=images.device, dtype=torch.long)
    counts.scatter_add_(1, values, torch.ones_like(values))
    last = counts.gather(1, values.amax(1, keepdim=True))
    step = (values.shape[1] - last) // 255
    below = counts.cumsum(1) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(0, 255)
    levelled = torch.where(step > 0, table.gather(1, values), values)
    return (levelled.to(images.dtype) / 255).view_as(images)


def shear_x(images: Tensor, strength: Tensor) -> Tensor:
    return _move(images, _matrix(images, strength, xy=strength, corner=True))


def shear_y(images: Tensor, strength: Tensor) -> Tensor:
    return _move(images, _matrix(images, strength, yx=strength, corner=True))


def translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    return _move(images, _matrix(images, pixels, x=-pixels.trunc()))


def translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    return _move(images, _matrix(images, pixels, y=-pixels.trunc()))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn counter-clockwise about the centre."""
    turn = degrees * (math.pi / 180)
    cos, sin = torch.cos(turn), torch.sin(turn)
    return _move(images, _matrix(images, degrees, xx=cos, xy=-sin, yx=sin, yy=cos))


def _matrix(
    images: Tensor,
    strength: Tensor,
    *,
    xx: Tensor | None = None,
    xy: Tensor | None = None,
    yx: Tensor | None = None,
    yy: Tensor | None = None,
    x: Tensor | None = None,
    y: Tensor | None = None,
    corner: bool = False,
) -> Tensor:
    """From output to input coordinates, in pixels from the centre (or from the corner, fixed)."""
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    linear = [[v if v is not None else o for v, o in zip(row, start, strict=True)]
              for row, start in (((xx, xy), (one, zero)), ((yx, yy), (zero, one)))]  # fmt: skip
    moved = [x if x is not None else zero, y if y is not None else zero]
    if corner:  # the corner lies at minus half the sides
        height, width = images.shape[2:]
        moved[0] = moved[0] + linear[0][1] * (height / 2)
        moved[1] = moved[1] + linear[1][0] * (width / 2)
    rows = [torch.stack([*linear[i], moved[i]], 1) for i in (0, 1)]
    return torch.stack(rows, 1).to(images.device, torch.float32)


def _move(images: Tensor, matrix: Tensor) -> Tensor:
    """Sample the nearest pixel by a matrix (batch, 2, 3) in pixels; black outside."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device, dtype=torch.float32) + 0.5 - width / 2
    y = torch.arange(height, device=images.device, dtype=torch.float32) + 0.5 - height / 2
    ones = torch.ones(height, width, device=images.device)
    base = torch.stack([x.expand(height, width), y[:, None].expand(height, width), ones], -1)
    scale = torch.tensor([width / 2, height / 2], device=images.device)
    grid = (base.view(1, -1, 3) @ matrix.transpose(1, 2)) / scale
    grid = grid.view(len(images), height, width, 2)
    moved = F.grid_sample(images.float(), grid, mode="nearest", align_corners=False)
    return moved.to(images.dtype)
