"""Six corruptions of ImageNet-C in colour, resolution and shape."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from foldtune.augment.corruptions.fields import Draws, reference, smooth, uniform
from foldtune.data.pictures.opening import open_picture


def contrast(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """Each colour drawn towards its mean over the image."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + (images - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[level]


def brightness(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """The value of HSV raised by c; hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    raised = (value + (0.1, 0.2, 0.3, 0.4, 0.5)[level]).clamp(max=1)
    return torch.where(value > 0, images * raised / value.clamp(min=1e-6), raised)


def saturate(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """The saturation of HSV times one number plus another; what is grey counts as red."""
    factor, offset = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))[level]
    value = images.amax(1, keepdim=True)
    depth = value - images
    chroma = depth.amax(1, keepdim=True)
    red = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1)
    pattern = torch.where(chroma > 0, depth / chroma.clamp(min=1e-6), red)
    old = torch.where(value > 0, chroma / value.clamp(min=1e-6), torch.zeros_like(value))
    return value - value * (old * factor + offset).clamp(0, 1) * pattern


def pixelate(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """Shrunk by averaging over boxes, and spread again without smoothing, by Pillow."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]

    def spread(image: Image.Image) -> Image.Image:
        small = (max(1, int(image.width * share)), max(1, int(image.height * share)))
        return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)

    return _by_pillow(images, spread)


def jpeg(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """Written as JPEG of a low quality and read again, by Pillow."""

    def reread(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=(25, 18, 15, 10, 7)[level])
        return open_picture(file.getvalue())

    return _by_pillow(images, reread)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    pictures = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(picture))) for picture in pictures])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).float() / 255


def elastic_transform(images: Tensor, level: int, draws: Draws) -> Tensor:
    """A random affine map, then a random displacement of every point, mirrored at the edges.

    As published, severities 1 and 2 tilt and shift whole parts, 3 to 5 ripple: the distance to the
    image falls from 2 to 3. Differs: both maps are joined, so pixels are interpolated once.
    """
    most, sigma, tilt = (
        (488.0, 170.8, 24.4),
        (488.0, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    )[level]
    height, width = reference(images)
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * (min(height, width) // 3)
    corners = corners + torch.tensor([width // 2, height // 2])
    moved = corners + tilt * uniform(draws, 3, 2)
    ones = torch.ones(len(images), 3, 1)
    back = torch.linalg.solve(torch.cat([moved, ones], 2), corners.expand(len(images), 3, 2))
    shifts = most * smooth(uniform(draws, 2, height, width), sigma)
    shifts = F.interpolate(shifts, size=images.shape[2:], mode="bilinear", align_corners=True)
    y, x = torch.meshgrid(
        torch.linspace(0, height - 1, images.shape[2]),
        torch.linspace(0, width - 1, images.shape[3]),
        indexing="ij",
    )
    at = torch.stack([x, y]) + shifts  # (batch, 2, height, width), in pixels of the reference
    at = at.permute(0, 2, 3, 1)
    source = at @ back[:, None, :2] + back[:, None, None, 2]
    grid = source * 2 / torch.tensor([width - 1, height - 1]) - 1
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=True)
