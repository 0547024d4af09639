"""LayerNorm tuning: the norms' affines train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from foldtune.core.edits import Edit, Train
from foldtune.core.method import Method
from foldtune.core.structure.names import norm_names
from foldtune.core.structure.sites import Site
from foldtune.methods.refusal import NoPlace


@dataclass(frozen=True, repr=False)
class LayerNorm(Method):
    """Weight and bias of every norm train: y = w * (x - mean) / std + b.

    On ViT-B/16 4 D L + 2 D = 38,400 parameters; norms before and inside attention (CLIP's
    norm_pre, q_norm, k_norm) included. BatchNorms train their affine on frozen statistics. Nothing
    is added, so nothing is merged. Source: Basu et al., AAAI 2024 (LN-Tune), and Mai et al., CVPR
    2025. When to use it: few images close to the pre-training domain. Norms are known by their
    class, not by a name: a search for "norm" in names stops with an error in other libraries.
    """

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        names = norm_names(model)
        if not names:
            host = type(model).__name__
            raise NoPlace(f"LayerNorm has nothing to train: {host} has no norm", model, sites)
        return [Train(names)]
