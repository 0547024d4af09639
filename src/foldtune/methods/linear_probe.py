"""The linear probe: nothing but the classifier is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from foldtune.core.edits import Edit
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site


@dataclass(frozen=True, repr=False)
class LinearProbe(Method):
    """Only the classifier is learnt, on the frozen backbone's pooled features.

    C: the inverse strength of its penalty, as scikit-learn has it; None: chosen by the likelihood
    of training images held out, see training/probe.py. It is solved, not trained by steps, unless
    a run starts its classifier elsewhere (`--head zero`, a paper's protocol): then the recipe
    trains it. Cost: 0 parameters beside the classifier; no backward pass. When to use it: as the
    yardstick; it is hard to beat where the data is close to the pre-training domain and there are
    few images. Differs from the SSF repository: on ConvNeXt the norm before the classifier stays
    frozen, so that the probe is linear.
    """

    C: float | None = None

    head_start: ClassVar[str] = "probe"
    only_classifier: ClassVar[bool] = True
    # Beside the one that is chosen by likelihood, which a search tries first.
    space: ClassVar = {"C": (3.2e-3, 0.01, 0.032, 0.1, 0.32, 1.0, 3.2, 10.0)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        return ()
