"""BitFit: the biases train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from foldtune.core.edits import Edit, Train
from foldtune.core.method import Method
from foldtune.core.structure.names import bias_names
from foldtune.core.structure.sites import Site
from foldtune.methods.refusal import NoPlace


@dataclass(frozen=True, repr=False)
class BitFit(Method):
    """Every existing bias vector trains: y = W x + b with b free.

    Patch embedding, norms, attention and MLP alike; on ViT-B/16 L(11 D) + 2 D = 102,912
    parameters. Nothing is added, so nothing is merged. Source: Ben Zaken et al., ACL 2022 (BitFit);
    for vision as in the unifying study of Mai et al., CVPR 2025. When to use it: as the smallest
    method that still changes features; strong with few images. A bias is a 1-D parameter named
    `bias` or `*_bias`: Swin's relative position bias *table* is none, though a search for the
    substring "bias" would train it.
    """

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        names = bias_names(model)
        if not names:
            host = type(model).__name__
            raise NoPlace(f"BitFit has nothing to train: {host} has no bias", model, sites)
        return [Train(names)]
