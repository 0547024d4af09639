"""From arrays in memory to batches on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foldtune.core.tensors import send
from foldtune.errors import InputError
from foldtune.training import seeds
from foldtune.training.recipe import Recipe

Prepare = Callable[[Tensor, torch.Generator | None], Tensor]
_DEPTHS = (np.uint8, np.uint16, np.float32)
_WHITE_OF_16 = np.float32(65535)


@dataclass(frozen=True)
class Data:
    """The images to train on. Raises InputError where the arrays do not belong together.

    pixels: (images, height, width, channels) uint8, uint16, or float32 in 0..1; or cached features,
    float32, (images, channels) or (images, tokens, channels);
    labels: (images,) whole numbers, or what another task predicts, (images, ...) float32; indices:
    the rows to train on.
    """

    pixels: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def __post_init__(self) -> None:
        pixels, labels, indices = self.pixels, self.labels, self.indices
        first = pixels.ndim == 4 and pixels.shape[1] <= 4 < pixels.shape[3]  # channels, not height
        images = pixels.ndim == 4 and pixels.dtype in _DEPTHS and not first
        if not images and not (pixels.ndim in (2, 3) and pixels.dtype == np.float32):
            raise InputError(
                f"pixels are {pixels.dtype} of shape {pixels.shape}; "
                "uint8 of shape (images, height, width, channels) is needed (uint16, or float32 in "
                "0..1), or cached features, float32 of shape (images, channels)"
            )
        told = labels.dtype == np.float32 and labels.shape[:1] == (len(pixels),)
        if not told and (labels.shape != (len(pixels),) or labels.dtype.kind not in "iu"):
            raise InputError(
                f"labels are {labels.dtype} of shape {labels.shape}; "
                f"whole numbers of shape ({len(pixels)},) are needed, one for each image"
            )
        if indices.ndim != 1 or indices.dtype.kind not in "iu" or len(indices) == 0:
            raise InputError(
                f"indices are {indices.dtype} of shape {indices.shape}; "
                "whole numbers of shape (rows,) are needed, at least one"
            )
        if indices.min() < 0 or indices.max() >= len(pixels):
            raise InputError(
                f"indices run from {indices.min()} to {indices.max()}; "
                f"the images are 0 to {len(pixels) - 1}"
            )
        if not told and labels[indices].min() < 0:
            raise InputError(f"label {labels[indices].min()} is negative; classes count from 0")

    @property
    def classes(self) -> int:
        """How many outputs the training labels ask for: classes, or columns."""
        if self.labels.dtype.kind == "f":
            return int(np.prod(self.labels.shape[1:]))
        return int(self.labels[self.indices].max()) + 1

    def ahead(self, batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The same batches; pixels that are still being decoded learn in which order they come."""
        expect = getattr(self.pixels, "expect", None)
        if expect is None:
            return batches
        known = list(batches)
        expect(np.concatenate(known))
        return iter(known)

    def load(self, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """The rows' pixels (batch, height, width, channels) and labels (batch,), on the device."""
        kind = np.float32 if self.labels.dtype.kind == "f" else np.int64
        labels = torch.from_numpy(self.labels[rows].astype(kind))
        return load_pixels(self.pixels, rows, device), send(labels, device)


def load_pixels(pixels: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor:
    """The rows' pixels on the device: uint8 as they are, deeper ones as float32 in 0..1."""
    taken = np.asarray(pixels[rows])
    if taken.dtype == np.uint16:  # of which torch (2.13) knows few operations
        taken = taken.astype(np.float32) / _WHITE_OF_16
    return send(torch.from_numpy(taken), device)


def steps_per_epoch(images: int, recipe: Recipe, processes: int = 1, least: int = 1) -> int:
    """How many batches an epoch has, none with fewer than `least` images for a process: what is
    left over for less is joined to the batch before. Raises InputError where there is not one.
    """
    images //= recipe.parts
    full, rest = divmod(images, recipe.batch_size)
    if recipe.batch_size < processes:
        raise InputError(
            f"batch_size={recipe.batch_size} is smaller than the {processes} processes"
        )
    if least > 1 and min(recipe.batch_size, images) < least * processes:
        raise InputError(
            f"a BatchNorm whose statistics move needs {least} images a step and process, and "
            f"{images} images in batches of batch_size={recipe.batch_size} over {processes} are "
            "fewer; use a larger batch_size, or hold the statistics"
        )
    steps = full + (rest >= least * processes and not recipe.drop_last)
    if steps == 0:
        raise InputError(
            f"{images} images an epoch make no batch of batch_size={recipe.batch_size}; "
            "use a smaller batch_size, fewer parts, or drop_last=False"
        )
    return steps


def epoch_batches(
    indices: np.ndarray,
    recipe: Recipe,
    seed: int,
    epoch: int,
    *,
    rank: int = 0,
    processes: int = 1,
    least: int = 1,
) -> Iterator[np.ndarray]:
    """The rows of each batch of one epoch, shuffled by (seed, pass over the images).

    With recipe.parts > 1 a pass is cut into that many epochs of equal length, and what is left of
    it, fewer images than parts, is left out. Every process permutes alike and takes each global
    batch's rows [rank::processes]. What a last batch holds beyond a multiple of the processes is
    left out, so that the mean of the processes' gradients is the gradient of the mean.
    least: see `steps_per_epoch`.
    """
    before, part = divmod(epoch - 1, recipe.parts)
    order = torch.randperm(len(indices), generator=seeds.generator(seed, before + 1, seeds.ORDER))
    own = len(indices) // recipe.parts
    shuffled = indices[order.numpy()][part * own : (part + 1) * own]
    steps = steps_per_epoch(len(indices), recipe, processes, least)
    for step in range(steps):
        joined = least > 1 and step == steps - 1 and not recipe.drop_last
        end = len(shuffled) if joined else (step + 1) * recipe.batch_size
        rows = shuffled[step * recipe.batch_size : end]
        rows = rows[: len(rows) // processes * processes]
        yield rows[rank::processes]


def prepare_at(prepare: Prepare, side: int | None) -> Prepare:
    """`prepare` at the side of a phase, itself where there is none; InputError if it has none."""
    if side is None:
        return prepare
    if not hasattr(prepare, "at"):
        raise InputError(
            f"the recipe's phases ask for {side} pixels, but this prepare has no `at(side)`; give "
            "a foldtune.augment.resample.Resample, or phases=()"
        )
    resized: Prepare = prepare.at(side)
    return resized
