"""Crop, resize and flip a whole batch of bytes in one go: two small matrix products an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foldtune.augment.batch import Normalise, check_batch, draw_boxes
from foldtune.core.tensors import send

_CUBIC = -0.5  # Keys's parameter, as Pillow and antialiasing torch use it


@dataclass(frozen=True)
class Resample:
    """What makes a training batch from stored bytes, at any side: a `prepare` for the loop.

    Called with a batch (batch, height, width, channels) uint8 and a generator on the CPU it draws
    for each image a box of `scale` of the area and of an aspect within `ratio`, resizes it to
    `side` pixels (None: the batch's own height), flips every other one on average and normalises.
    Without a generator the whole image is resized. Scale (1, 1) and ratio (1, 1) only resize.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int | None = None
    scale: tuple[float, float] = (0.25, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True

    def at(self, side: int) -> Resample:
        """The same at another side, for the phases of a recipe."""
        return replace(self, side=side)

    def __call__(self, batch: Tensor, generator: torch.Generator | None) -> Tensor:
        """Normalised floats (batch, channels, side, side)."""
        count, shape = len(batch), batch.shape[1:3]
        boxes = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).repeat(count, 1)
        mirrored = torch.zeros(count, dtype=torch.bool)
        if generator is not None:
            boxes = draw_boxes(count, shape, self.scale, self.ratio, generator)
            if self.flip:
                mirrored = torch.rand(count, generator=generator) < 0.5
        images = resample(batch, boxes, self.side or shape[0], mirrored)
        return Normalise(self.mean, self.std)(images)


def resample(batch: Tensor, boxes: Tensor, side: int, mirrored: Tensor) -> Tensor:
    """Each image's box as a square of `side` pixels, in 0..1: W_y x W_x^T by colour.

    batch: (batch, height, width, channels) uint8, or float32 in 0..1; boxes: (batch, 4), top, left,
    height and width in 0..1, on the CPU; mirrored: (batch,) bool, on the CPU. Returns (batch,
    channels, side, side) float32. Bicubic with antialiasing, to rounding what Pillow gives for a
    whole image; at a box's rim the pixels beside it count, where cropping first would repeat the
    last one. Cropping first at full size and resizing after would compute pixels only to merge
    them.
    """
    check_batch(batch, batch.shape[-1] if batch.ndim == 4 else 3)
    count, height, width, colours = batch.shape
    top, left, tall, wide = boxes.double().cpu().unbind(1)
    down = _weights(top, tall, height, side)
    across = _weights(left, wide, width, side)
    across = torch.where(mirrored[:, None, None], across.flip(1), across)
    down, across = send(down, batch.device), send(across, batch.device)
    rows = torch.bmm(down, batch.reshape(count, height, width * colours).float())
    planes = rows.view(count, side, width, colours).permute(0, 3, 1, 2)
    planes = planes.reshape(count, colours * side, width)
    images = torch.bmm(planes, across.transpose(1, 2)).view(count, colours, side, side)
    # The cubic's negative lobes overshoot at edges; a resized picture is clipped there.
    return (images.div_(255) if batch.dtype == torch.uint8 else images).clamp_(0, 1)


def _weights(start: Tensor, extent: Tensor, pixels: int, side: int) -> Tensor:
    """How much each pixel counts in each output: (batch, side, pixels) float32, rows of sum 1.

    start, extent: (batch,) shares of the line. The kernel is as wide as a step where that is more
    than a pixel, so that nothing is skipped (antialiasing).
    """
    step = (extent * pixels / side).view(-1, 1, 1)
    centres = start.view(-1, 1, 1) * pixels + (torch.arange(side).view(1, -1, 1) + 0.5) * step
    grid, centres, scale = torch.arange(pixels) + 0.5, centres.float(), step.clamp(min=1).float()
    distance = ((grid - centres) / scale).abs_()
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
    far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    return weights / weights.sum(2, keepdim=True)
