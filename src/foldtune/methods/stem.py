"""Stem: the first layers train, which read the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from foldtune.core.edits import Edit, Train
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.sites import Site, select
from foldtune.methods.refusal import NoPlace


@dataclass(frozen=True, repr=False)
class Stem(Method):
    """Weight and bias of the layers before the first block train (the patch embedding of a ViT).

    On ViT-B/16 3 16 16 D + D = 590,592 parameters; of a ResNet the first convolution, of a deep
    stem all of its. Starts as the identity; nothing is added, so nothing is merged. Source:
    first-layer tuning as in Lee et al., ICLR 2023 (surgical fine-tuning: shifts of the input are
    met best in the first layers). When to use it: in a sum, `LoRA() + Stem()`, where images have
    other channels than RGB (`--channels`) or come from another sensor, so that what the first layer
    learnt of colours does not fit.
    """

    space: ClassVar = {**Method.space, "lr": LogRange(1e-5, 1e-2)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        own = (f"{s.path}.{n}" for s in select(sites, "stem") for n in (s.weight, s.bias) if n)
        # One that another library computes is no parameter; Full would not train it either.
        stored = {n for n, _ in model.named_parameters()}
        names = tuple(n for n in own if n in stored)
        if not names:
            host = type(model).__name__
            raise NoPlace(f"Stem needs a layer before the blocks; {host} has none", model, sites)
        return [Train(names)]
