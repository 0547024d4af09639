"""What corruptions are made of: draws, convolutions, and random fields at 224 pixels.

A random field (snow, fog, drops, a warp) is drawn for an image whose shorter side is 224 pixels,
for which the published constants are meant, and then resized to the image: so it looks the same on
images of every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 224  # pixels, of the images for which the published lengths are meant

# Images (batch, 3, height, width) in 0..1, severity as an index, one generator an image.
Draws = Sequence[torch.Generator]
Corruption = Callable[[Tensor, int, Draws], Tensor]


def each(images: Tensor, draws: Draws, draw: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
    """A draw of its own for every image."""
    return torch.stack([draw(x, g) for x, g in zip(images, draws, strict=True)])


def normal(images: Tensor, draws: Draws) -> Tensor:
    return each(images, draws, lambda x, g: torch.randn(x.shape, generator=g))


def uniform(draws: Draws, *shape: int) -> Tensor:
    """(batch, *shape) between -1 and 1."""
    return torch.stack([torch.rand(shape, generator=g) for g in draws]) * 2 - 1


def scale(images: Tensor) -> float:
    """The image's shorter side by that of the published images."""
    return min(images.shape[2:]) / SIDE


def reference(images: Tensor) -> tuple[int, int]:
    """The image's height and width, brought to a shorter side of 224."""
    height, width = images.shape[2:]
    return max(SIDE, round(height / scale(images))), max(SIDE, round(width / scale(images)))


def resize_field(field: Tensor, images: Tensor) -> Tensor:
    """A field (batch, channels, height, width) resized to the images; shrinking averages."""
    size = images.shape[2:]
    if field.shape[2:] == size:
        return field
    return F.interpolate(field, size=size, mode="bilinear", antialias=True)


def smooth(field: Tensor, sigma: float) -> Tensor:
    """Convolution with a Gaussian over the last two axes, mirrored at the edges.

    Done by cosine transforms, whose cost does not grow with sigma: the published warps need 170.
    """
    from scipy.fft import dctn, idctn

    spectrum = torch.from_numpy(dctn(field.numpy(), axes=(-2, -1), norm="ortho"))
    for axis, side in ((-2, field.shape[-2]), (-1, field.shape[-1])):
        wave = math.pi * torch.arange(side) / side
        falloff = torch.exp(-0.5 * (sigma * wave) ** 2)
        spectrum = spectrum * (falloff[:, None] if axis == -2 else falloff)
    return torch.from_numpy(idctn(spectrum.numpy(), axes=(-2, -1), norm="ortho")).to(field)


def plasma(height: int, width: int, decay: float, generator: torch.Generator) -> Tensor:
    """Clouds in 0..1 by repeated midpoint displacement (Fournier, Fussell & Carpenter, CACM 1982).

    Periodic, on a square of a power of two; the top left is taken. From one level to the next the
    displacement falls by `decay` squared.
    """
    grid, reach = torch.zeros(1, 1), 1.0
    while len(grid) < max(height, width):
        nudge = reach * (torch.rand(3, *grid.shape, generator=generator) * 2 - 1)
        right, below = grid.roll(-1, 1), grid.roll(-1, 0)
        centre = (grid + right + below + right.roll(-1, 0)) / 4 + nudge[0]
        above = (grid + right + centre + centre.roll(1, 0)) / 4 + nudge[1]
        left = (grid + below + centre + centre.roll(1, 1)) / 4 + nudge[2]
        rows = torch.stack([torch.stack([grid, above], -1), torch.stack([left, centre], -1)], 1)
        grid, reach = rows.reshape(2 * len(grid), 2 * len(grid)), reach / decay**2
    grid = grid - grid.min()
    return (grid / grid.max())[:height, :width]


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Convolution with a Gaussian cut off at four deviations; edges repeated."""
    reach = max(1, round(4 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = line / line.sum()
    return convolve(convolve(images, line[None]), line[:, None])


def convolve(images: Tensor, kernel: Tensor) -> Tensor:
    """Each channel with one kernel of odd sides; edges repeated."""
    down, along = (n // 2 for n in kernel.shape)
    padded = F.pad(images, (along, along, down, down), mode="replicate")
    channels = images.shape[1]
    return F.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels)


def sample_images(images: Tensor, zoom: Tensor, shifts: Tensor) -> Tensor:
    """Each image read bilinearly at `zoom` times its coordinates plus its shift (x, y), where the
    image spans -1 to 1; edges repeated."""
    affine = torch.zeros(len(images), 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = zoom
    affine[:, :, 2] = shifts
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def smear(images: Tensor, angle: Tensor, radius: float, sigma: float, size: float) -> Tensor:
    """A one-sided Gaussian along a line at each image's angle; lengths are times `size`.

    Differs: ImageMagick steps from pixel to pixel; here points on the line are read bilinearly.
    """
    height, width = images.shape[2:]
    steps = torch.arange(max(2, round((2 * radius + 1) * size)))
    shares = torch.exp(-0.5 * (steps / (sigma * size)) ** 2)
    total = torch.zeros_like(images)
    for step, share in zip(steps.tolist(), (shares / shares.sum()).tolist(), strict=True):
        shifts = torch.stack([torch.cos(angle) * 2 / width, torch.sin(angle) * 2 / height], 1)
        total += share * sample_images(images, torch.ones(len(images)), shifts * step)
    return total
