"""The linear probe: nothing but the classifier trains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from foldtune.core.edits import Edit
from foldtune.core.method import Method
from foldtune.core.sites import Site


@dataclass(frozen=True, repr=False)
class LinearProbe(Method):
    """Only the classifier trains, on the frozen backbone's pooled features.

    Cost: 0 parameters beside the classifier; no backward pass through the backbone. When to use
    it: as the yardstick; it is hard to beat where the data is close to the pre-training domain and
    there are few images. Differs from the SSF repository: on ConvNeXt the norm before the
    classifier stays frozen, so that the probe is linear.
    """

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        return ()
