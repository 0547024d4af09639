"""Forward and backward pass of a training step, over as many images at once as the memory holds."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from foldtune.errors import InputError
from foldtune.training.device import Prepared
from foldtune.training.host import host_logits
from foldtune.training.speed.blocks import eager
from foldtune.training.speed.memory import bound_of, free_bytes

_log = logging.getLogger(__name__)


class Passes:
    """The mean loss over a batch and its gradients, in one pass or, where the memory is too small,
    in several whose gradients are summed: the same but for rounding, if the loss is a mean over
    images (CORN's is one over the images of each grade, and becomes the mean of the parts').

    outputs: the fewest logits that the labels ask for. whole: False where a batch may not be parted
    (a BatchNorm takes its statistics). compiled: whether a batch of another size than the first
    runs as written. free: bytes free on the device, None where that is not known.
    """

    def __init__(
        self,
        model: nn.Module,
        at: Prepared,
        loss: Callable[[Tensor, Tensor], Tensor],
        outputs: int,
        *,
        parted: bool = True,
        compiled: bool = False,
        free: Callable[[torch.device], int | None] = free_bytes,
    ) -> None:
        self.model, self.at, self.loss, self.outputs = model, at, loss, outputs
        # Processes that wait for each other's gradients must all make the same passes.
        self.parted = parted and at.accelerator.num_processes == 1
        self.compiled, self._free = compiled, free
        self.most: int | None = None  # images at once; None: all of a batch
        self._first = 0  # images of the first pass

    def gradients(self, images: Tensor, targets: Tensor, clear: Callable[[], None]) -> Tensor:
        """The mean loss over the batch, detached, its gradients laid where `clear` makes room.

        Raises InputError where not one image fits, and where a batch that may not be parted does
        not.
        """
        # Where one image stands for all, the batch lies elsewhere (prefix.py) and cannot be parted.
        self.parted = self.parted and (len(images) < 2 or images.stride(0) > 0)
        if not self._first and self.parted:
            self._limit(images)
        while True:
            clear()
            try:
                return self.summed(images, targets)
            except torch.OutOfMemoryError as error:
                self._halve(min(len(images), self.most or len(images)), error)

    def summed(self, images: Tensor, targets: Tensor) -> Tensor:
        """`gradients`, added to those that are there, in as many passes as were found to fit."""
        most = self.most or len(images)
        if most >= len(images):
            return self._pass(images, targets, 1.0)
        parts = zip(images.split(most), targets.split(most), strict=True)
        losses = [self._pass(x, t, len(x) / len(images)) for x, t in parts]
        return torch.stack(losses).sum()

    def _pass(self, images: Tensor, targets: Tensor, share: float) -> Tensor:
        self._first = self._first or len(images)
        odd = self.compiled and len(images) != self._first
        with eager(odd):  # backward too, where blocks are computed again
            with self.at.accelerator.autocast():
                logits = host_logits(self.at.forward(images))
            if logits.shape[1] < self.outputs:
                raise InputError(
                    f"the labels count {self.outputs} classes, the model's head {logits.shape[1]}"
                )
            loss = self.loss(logits, targets)
            if share != 1.0:
                loss = loss * share
            self.at.accelerator.backward(loss)
        return loss.detach()

    def _limit(self, images: Tensor) -> None:
        """Before the first step: as many images at once as fit, told where that is not all."""
        free = self._free(self.at.device)
        if free is None or len(images) < 2:
            return
        with self.at.accelerator.autocast():
            bound = bound_of(self.model, images, free)
        if bound.need(len(images)) > free:
            self.most = max(1, bound.images)
            _log.warning("%s, whose gradients are summed", bound.describe(len(images)))

    def _halve(self, images: int, error: torch.OutOfMemoryError) -> None:
        what = f"the device's memory does not hold a step of {images} images at once"
        if images == 1 or not self.parted:
            why = "" if images == 1 else ", which must be one pass here"
            raise InputError(
                f"{what}{why}: use a smaller batch_size, recompute=True or precision='bf16-kept'"
            ) from error
        self.most, self._first = (images + 1) // 2, 0
        _log.warning("%s; %d at once, gradients summed, from here on", what, self.most)
        if self.at.device.type == "cuda":
            torch.cuda.empty_cache()
