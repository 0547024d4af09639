"""How many images a step may take at once, told before the first step on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.kept import kept_bytes
from foldtune.core.structure.probe import eval_mode
from foldtune.training.host import host_logits

# Beyond what autograd keeps: gradients on their way, one layer's results, cuts of the allocator.
_BEYOND = 1.2
_GIB = 2**30


@dataclass(frozen=True)
class Bound:
    """What steps need, in bytes: `fixed` whatever the batch, `each` image; and what is free."""

    fixed: int
    each: int
    free: int

    def need(self, images: int) -> int:
        """Of a step of so many images at once."""
        return self.fixed + images * int(self.each * _BEYOND)

    @property
    def images(self) -> int:
        """The most images at once that fit; 0 where not one does."""
        return max(0, self.free - self.fixed) // max(1, int(self.each * _BEYOND))

    def describe(self, images: int) -> str:
        """As a sentence: what a batch needs, what is there, and what fits."""
        need, free = self.need(images) / _GIB, self.free / _GIB
        return (
            f"a step of {images} images needs {need:.3g} of {free:.3g} GiB free; {self.images} fit"
        )


def bound_of(model: nn.Module, images: Tensor, free: int) -> Bound:
    """The bound for steps of this model, as it stands, from passes of one and of two images.

    images: (2 or more, ...), ready for the model and on its device, under the autocast that the
    steps will have. Adds two moments and a gradient of each number that trains.
    """
    one, two = (_kept_size(model, images[:count]) for count in (1, 2))
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return Bound(max(0, 2 * one - two) + 3 * trained, max(1, two - one), free)


def _kept_size(model: nn.Module, images: Tensor) -> int:
    # In eval mode: no statistics may move, and what dropout keeps is little.
    with eval_mode(model), kept_bytes(model) as sizes:
        logits = host_logits(model(images))
        F.cross_entropy(logits.float(), torch.zeros_like(logits[:, 0], dtype=torch.long))
    return sum(sizes.values())


def free_bytes(device: torch.device) -> int | None:
    """What a GPU has free, with what torch holds of it unused; None of other devices."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + unused
