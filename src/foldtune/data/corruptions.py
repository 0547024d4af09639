"""Corrupted copies of images at five severities, made in batches (Hendrycks & Dietterich, ICLR
2019), each picture by a draw of its own.

Thirteen of the nineteen corruptions of ImageNet-C: the four noises, four of the five blurs, and
brightness, contrast, saturate, pixelate and jpeg. Glass blur, snow, frost, fog, spatter and elastic
transform are not here: they need pictures of frost, or random fields whose published constants hold
at 224 pixels only. The strengths are the published ones. What differs, for all: lengths in pixels
(the blurs') are for a side of 224 and scale with the side, so that small images are not erased;
pixels are rounded, not truncated; the draw depends on the picture, the seed and the corruption, but
not on the severity, so that severities differ in strength alone.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from foldtune.errors import InputError, unknown

SEVERITIES = (1, 2, 3, 4, 5)
_SIDE = 224  # pixels, of the images for which the published lengths are meant

# Images (batch, 3, height, width) in 0..1, severity as an index, one generator an image.
Draws = Sequence[torch.Generator]
Draw = Callable[[Tensor, torch.Generator], Tensor]  # of one image
Corruption = Callable[[Tensor, int, Draws], Tensor]


def corrupt(batch: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """Corrupted copies of a batch, (batch, height, width, 3) uint8, on its device.

    The same picture comes out the same in every batch, order and data set. The work is done on the
    CPU. Raises InputError for an unknown corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise InputError(f"severity {severity} of {name} is none of 1 to 5")
    pixels = batch.cpu()
    draws = [_generator(image, name, seed) for image in pixels]
    images = pixels.permute(0, 3, 1, 2).float() / 255
    changed = CORRUPTIONS[name](images, severity - 1, draws).clamp(0, 1)
    return (changed * 255).round().byte().permute(0, 2, 3, 1).contiguous().to(batch.device)


def parse_corruptions(asked: Sequence[str]) -> list[tuple[str, int]]:
    """Names and severities: `all`, `NAME` (at five severities), `NAME:3`, `all:3`."""
    found: dict[tuple[str, int], None] = {}
    for text in asked:
        name, colon, level = text.partition(":")
        if name != "all" and name not in CORRUPTIONS:
            raise unknown("corruption", name, ["all", *CORRUPTIONS])
        if colon and level not in map(str, SEVERITIES):
            raise InputError(f"severity {level!r} in {text!r} is none of 1 to 5")
        levels = (int(level),) if colon else SEVERITIES
        names = CORRUPTIONS if name == "all" else (name,)
        found |= {(n, s): None for n in names for s in levels}
    return list(found)


def _generator(image: Tensor, name: str, seed: int) -> torch.Generator:
    told = hashlib.blake2b(image.numpy().tobytes(), digest_size=8, key=f"{name} {seed}".encode())
    return torch.Generator().manual_seed(int.from_bytes(told.digest(), "big") >> 1)


def _each(
    images: Tensor, draws: Draws, draw: Callable[[Tensor, torch.Generator], Tensor]
) -> Tensor:
    return torch.stack([draw(x, g) for x, g in zip(images, draws, strict=True)])


def _normal(images: Tensor, draws: Draws) -> Tensor:
    return _each(images, draws, lambda x, g: torch.randn(x.shape, generator=g))


# -- noises ----------------------------------------------------------------------------------------


def gaussian_noise(images: Tensor, level: int, draws: Draws) -> Tensor:
    """x + c n, n standard normal for each pixel and colour."""
    return images + (0.08, 0.12, 0.18, 0.26, 0.38)[level] * _normal(images, draws)


def shot_noise(images: Tensor, level: int, draws: Draws) -> Tensor:
    """Poisson(c x) / c: the light of few photons."""
    photons = (60, 25, 12, 5, 3)[level]
    return _each(images, draws, lambda x, g: torch.poisson(x * photons, generator=g)) / photons


def impulse_noise(images: Tensor, level: int, draws: Draws) -> Tensor:
    """A share of all values, each colour by itself, becomes 0 or 1."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    chance = _each(images, draws, lambda x, g: torch.rand(x.shape, generator=g))
    salt = (chance < share / 2).to(images)
    return torch.where(chance < share, salt, images)


def speckle_noise(images: Tensor, level: int, draws: Draws) -> Tensor:
    """x + c x n, n standard normal."""
    return images + images * (0.15, 0.2, 0.35, 0.45, 0.6)[level] * _normal(images, draws)


# -- blurs -----------------------------------------------------------------------------------------


def gaussian_blur(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """Convolution with a Gaussian cut off at four deviations; edges repeated."""
    sigma = (1, 2, 3, 4, 6)[level] * _scale(images)
    reach = max(1, round(4 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = line / line.sum()
    return _convolve(_convolve(images, line[None]), line[:, None])


def defocus_blur(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """Convolution with a disk. Differs: its edge is softened by the share of each pixel that the
    disk covers, where the published one is a hard disk blurred by a Gaussian."""
    return _convolve(images, _disk((3, 4, 6, 8, 10)[level] * _scale(images)))


def motion_blur(images: Tensor, level: int, draws: Draws) -> Tensor:
    """A one-sided Gaussian along a line at an angle within 45 degrees of the horizontal.

    Differs: ImageMagick steps from pixel to pixel; here points on the line are read bilinearly.
    """
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    scale, (height, width) = _scale(images), images.shape[2:]
    angle = torch.stack([torch.rand((), generator=g) for g in draws]) * math.pi / 2 - math.pi / 4
    steps = torch.arange(max(2, round((2 * radius + 1) * scale)))
    shares = torch.exp(-0.5 * (steps / (sigma * scale)) ** 2)
    total = torch.zeros_like(images)
    for step, share in zip(steps.tolist(), (shares / shares.sum()).tolist(), strict=True):
        shifts = torch.stack([torch.cos(angle) * 2 / width, torch.sin(angle) * 2 / height], 1)
        total += share * _sampled(images, torch.ones(len(images)), shifts * step)
    return total


def zoom_blur(images: Tensor, level: int, _draws: Draws) -> Tensor:
    """The mean of the image and of its magnifications about the centre, up to a third larger."""
    most, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[level]
    factors = np.arange(1, most, step).tolist()
    total, still = images.clone(), torch.zeros(len(images), 2)
    for factor in factors:
        total += _sampled(images, torch.full((len(images),), 1 / factor), still)
    return total / (len(factors) + 1)


def _scale(images: Tensor) -> float:
    return min(images.shape[2:]) / _SIDE


def _disk(radius: float, fine: int = 9) -> Tensor:
    """The share of each pixel that a centred disk covers, on a grid `fine` times as fine; sum 1."""
    reach = math.ceil(radius)
    side = 2 * reach + 1
    at = (torch.arange(side * fine) + 0.5) / fine - side / 2
    inside = (at[:, None] ** 2 + at[None] ** 2 <= radius**2).float()
    covered = F.avg_pool2d(inside[None, None], fine)[0, 0]
    return covered / covered.sum()


def _convolve(images: Tensor, kernel: Tensor) -> Tensor:
    """Each colour with one kernel of odd sides; edges repeated."""
    down, along = (n // 2 for n in kernel.shape)
    padded = F.pad(images, (along, along, down, down), mode="replicate")
    weight = kernel.expand(3, 1, *kernel.shape)
    return F.conv2d(padded, weight, groups=3)


def _sampled(images: Tensor, zoom: Tensor, shifts: Tensor) -> Tensor:
    """Each image read bilinearly at `zoom` times its coordinates plus its shift (x, y), where the
    image spans -1 to 1; edges repeated."""
    affine = torch.zeros(len(images), 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = zoom
    affine[:, :, 2] = shifts
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


# -- colour and resolution -------------------------------------------------------------------------


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
        return Image.open(file)

    return _by_pillow(images, reread)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    pictures = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(picture))) for picture in pictures])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).float() / 255


CORRUPTIONS: dict[str, Corruption] = {
    f.__name__: f
    for f in (
        gaussian_noise, shot_noise, impulse_noise, speckle_noise, gaussian_blur, defocus_blur,
        motion_blur, zoom_blur, contrast, brightness, saturate, pixelate, jpeg,
    )
}  # fmt: skip
