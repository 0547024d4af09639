"""Normalisation and augmentation of a whole batch at once, on the device that holds it.

Every image of a batch is flipped and cropped by its own draw. The draws are made on the CPU, so
a run sees the same crops on every device. Flip and crop are linear and read no pixel outside the
image, so they commute with normalisation; colours and erasing do not: augment before it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from foldtune.augment.policy import LEVELS, erase, jitter, rand_augment
from foldtune.core.tensors import send
from foldtune.errors import InputError, unknown_name

AUGMENTATIONS = ("flip", "crop", "vflip", "jitter", "randaugment", "erase")
_BOUNDS = {"crop": (0, 1), "jitter": (0, 1), "randaugment": (0, LEVELS), "erase": (0, 1)}
_CHANGES = {"jitter": (jitter, 0.4), "randaugment": (rand_augment, 9.0), "erase": (erase, 0.25)}
_TRIES = 10  # boxes drawn per image, of which the first that fits is taken


@dataclass(frozen=True)
class Normalise:
    """(x - mean) / std per channel, for images in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise InputError(
                f"normalisation by mean {self.mean} and std {self.std} is impossible; "
                "give one of each for every channel, three of RGB, every std above 0"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """images: (batch, channels, height, width), float."""
        # Made anew on a GPU, they would be waited for at every batch.
        made = _by_channel.__wrapped__ if images.device.type == "cpu" else _by_channel
        mean, std = (made(v, images.dtype, images.device) for v in (self.mean, self.std))
        return (images - mean) / std


@functools.lru_cache(maxsize=64)
def _by_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The values as (channels, 1, 1), made once for each device."""
    return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)


def to_float(batch: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels as normalised floats.

    batch: (batch, height, width, channels) uint8, or float32 in 0..1 of images that have more than
    8 bits. Returns (batch, channels, height, width).
    Mean 0 and std 1 leave the range 0..1. float32, whatever the precision of the model.
    """
    check_batch(batch, len(mean))
    normalise = Normalise(tuple(mean), tuple(std))
    images = batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return normalise(images.div_(255) if batch.dtype == torch.uint8 else images)


def check_batch(batch: Tensor, channels: int) -> None:
    """Refuse what is no batch of images of so many channels."""
    known = batch.dtype in (torch.uint8, torch.float32)
    if not known or batch.ndim != 4 or batch.shape[3] != channels:
        raise InputError(
            f"a batch of images must be uint8 (batch, height, width, {channels}), or float32 in "
            "0..1, but is "
            f"{str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
        )
    # A device would have to be waited for.
    if batch.dtype == torch.float32 and batch.device.type == "cpu" and (batch > 1).any():
        raise InputError(
            f"a batch of float32 images must be in 0..1, but reaches {float(batch.max()):g}; give "
            "bytes as uint8"
        )


def augment(
    images: Tensor,
    kinds: tuple[str, ...],
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.25, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Random crop, flips, colours and erasing of each image of a batch; no kinds, no change.

    images: (batch, channels, height, width), float; in 0..1 where `jitter`, `randaugment` or
    `erase` are asked for. Kinds, by whatever order applied in this one, and what a number behind
    it means:
    - `crop:0.25`: a box of at least this share of the area (uniform up to `scale[1]`) and of an
      aspect within `ratio` (log-uniform), anywhere inside, resized bilinearly to the full image;
      `crop:0.08` is the random resized crop of ImageNet;
    - `flip`, `vflip`: left to right, top to bottom, for every other image on average;
    - `jitter:0.4`: brightness, contrast and saturation by factors within 1 +- this;
    - `randaugment:9`: two of 14 operations at this magnitude of 30;
    - `erase:0.25`: a box of noise, in this share of the images.
    The generator lives on the CPU, so a run sees the same draws on every device.
    """
    wanted = dict(parse_kind(kind) for kind in kinds)
    if generator.device.type != "cpu":
        raise InputError(
            f"the generator of the augmentation is on {generator.device}; make it on the CPU, "
            "torch.Generator(), so that a run can be repeated on any device"
        )
    if "crop" in wanted:
        low = scale[0] if wanted["crop"] is None else wanted["crop"]
        spread = (low, max(scale[1], low))
        images = _crop(images, draw_boxes(len(images), images.shape[2:], spread, ratio, generator))
    for kind, axis in (("flip", 3), ("vflip", 2)):
        if kind in wanted:
            flipped = send(torch.rand(len(images), generator=generator) < 0.5, images.device)
            images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(axis), images)
    for kind, (change, usual) in _CHANGES.items():
        if kind in wanted:
            refuse_colours(kind, images.shape[1])
            number = wanted[kind]
            images = change(images, usual if number is None else number, generator)
    return images


def parse_kind(text: str) -> tuple[str, float | None]:
    """An augmentation's name and its number, if one is given: `crop:0.08`.

    Raises InputError for a name that is none, nearest first, and for a number out of its range.
    """
    name, colon, number = text.partition(":")
    if name not in AUGMENTATIONS:
        raise unknown_name("augmentation", name, AUGMENTATIONS)
    if not colon:
        return name, None
    bounds = _BOUNDS.get(name)
    if bounds is None:
        raise InputError(f"augmentation {name} takes no number, so not {text!r}")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not bounds[0] <= value <= bounds[1] or (name == "crop" and value == 0):
        raise InputError(
            f"augmentation {text!r} is out of range; {name} takes a number from {bounds[0]:g} to "
            f"{bounds[1]:g}"
        )
    return name, value


def refuse_colours(kind: str, channels: int) -> None:
    """Refuse an augmentation of colours where there are other channels than three."""
    if kind in ("jitter", "randaugment") and channels != 3:
        raise InputError(
            f"augmentation {kind} changes red, green and blue, and the images have {channels} "
            "channels; choose from: crop, erase, flip, vflip"
        )


def draw_boxes(
    count: int,
    shape: Sequence[int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Random boxes inside an image: (count, 4), as top, left, height and width in 0..1.

    shape: height and width. Of ten draws of area and aspect per image the first whose box fits is
    taken; if none does, the whole image.
    """
    if not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise InputError(
            f"a crop of scale {scale} and ratio {ratio} is impossible; "
            "scale must rise within 0..1, and ratio above 0"
        )
    draws = torch.rand(4, count, _TRIES, generator=generator, dtype=torch.float64)
    area = scale[0] + (scale[1] - scale[0]) * draws[0]
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draws[1]) * shape[0] / shape[1]
    height, width = torch.sqrt(area / aspect), torch.sqrt(area * aspect)
    fits = (height <= 1) & (width <= 1)
    first = fits.int().argmax(1, keepdim=True)
    height, width = (side.where(fits, 1.0).gather(1, first)[:, 0] for side in (height, width))
    top, left = draws[2, :, 0] * (1 - height), draws[3, :, 0] * (1 - width)
    return torch.stack([top, left, height, width], 1)


def _crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Resize each image's box to the full image.

    A box is never larger than the image, so pixels are only spread, never merged, and bilinear
    sampling needs no antialiasing. The full box gives the image back to 1e-4 of its range (the
    sampling grid is float32). One core, 64 x 3 x 224 x 224: grid_sample 0.10 s, the same by two
    batched products with interpolation matrices 0.26 s, by gathering rows, then columns 0.22 s.
    """
    top, left, height, width = boxes.unbind(1)
    affine = boxes.new_zeros(len(boxes), 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = width, height
    affine[:, 0, 2], affine[:, 1, 2] = 2 * left + width - 1, 2 * top + height - 1
    affine = send(affine, images.device, torch.float32)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    # Half precision would misplace the samples by whole pixels, so the crop is float32 in any case.
    cropped = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return cropped.to(images.dtype)
