"""Corrupted copies of images at five severities, made in batches (Hendrycks & Dietterich, ICLR
2019), each picture by a draw of its own.

The nineteen corruptions of ImageNet-C with their published strengths (make_imagenet_c.py of the
authors' repository, hendrycks/robustness). What differs, for all: lengths in pixels are for a side
of 224 and scale with the image's shorter side, and random layers are drawn at 224 and resized, so
that small images are not erased; pixels are rounded, not truncated; images are not saved as JPEG
afterwards; the draw depends on the picture, the seed and the corruption, but not on the severity.
What differs for one is said there; most for `frost`, whose ice is drawn and not photographed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from foldtune.augment.batch import check_batch
from foldtune.augment.corruptions import blur, digital, noise, weather
from foldtune.augment.corruptions.fields import Corruption
from foldtune.errors import InputError, unknown_name

SEVERITIES = (1, 2, 3, 4, 5)

CORRUPTIONS: dict[str, Corruption] = {
    f.__name__: f
    for f in (
        noise.gaussian_noise, noise.shot_noise, noise.impulse_noise, noise.speckle_noise,
        blur.gaussian_blur, blur.defocus_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur,
        weather.snow, weather.frost, weather.fog, weather.spatter,
        digital.contrast, digital.brightness, digital.saturate, digital.pixelate, digital.jpeg,
        digital.elastic_transform,
    )
}  # fmt: skip


def corrupt(batch: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """Corrupted copies of a batch, (batch, height, width, 3) uint8, or float32 in 0..1, on its
    device.

    The same picture comes out the same in every batch, order and data set. The work is done on the
    CPU. Raises InputError for an unknown corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise unknown_name("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise InputError(f"severity {severity} of {name} is none of 1 to 5")
    check_batch(batch, 3)
    pixels = batch.cpu()
    draws = [_generator(image, name, seed) for image in pixels]
    deep = pixels.dtype != torch.uint8
    images = pixels.permute(0, 3, 1, 2).float() / (1 if deep else 255)
    changed = CORRUPTIONS[name](images, severity - 1, draws).clamp(0, 1)
    whole = changed if deep else (changed * 255).round().byte()
    return whole.permute(0, 2, 3, 1).contiguous().to(batch.device)


def parse_corruptions(asked: Sequence[str]) -> list[tuple[str, int]]:
    """Names and severities: `all`, `NAME` (at five severities), `NAME:3`, `all:3`."""
    found: dict[tuple[str, int], None] = {}
    for text in asked:
        name, colon, level = text.partition(":")
        if name != "all" and name not in CORRUPTIONS:
            raise unknown_name("corruption", name, ["all", *CORRUPTIONS])
        if colon and level not in map(str, SEVERITIES):
            raise InputError(f"severity {level!r} in {text!r} is none of 1 to 5")
        levels = (int(level),) if colon else SEVERITIES
        names = CORRUPTIONS if name == "all" else (name,)
        found |= {(n, s): None for n in names for s in levels}
    return list(found)


def _generator(image: Tensor, name: str, seed: int) -> torch.Generator:
    told = hashlib.blake2b(image.numpy().tobytes(), digest_size=8, key=f"{name} {seed}".encode())
    return torch.Generator().manual_seed(int.from_bytes(told.digest(), "big") >> 1)
