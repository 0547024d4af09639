"""Where a change of matrices stands unless it is told; no method itself."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from foldtune.core.structure.blocks import in_gate
from foldtune.core.structure.sites import Site, select
from foldtune.errors import some
from foldtune.methods.refusal import NoPlace

# Where there is no attention: what a block of a convolutional network is made of.
CONVOLUTIONAL = ("conv", "mlp.up", "mlp.down")


def sites_for(model: nn.Module, sites: Sequence[Site], targets: Sequence[str]) -> tuple[Site, ...]:
    """The sites of `targets`; of none the projections into attention, or where nothing attends the
    convolutions and MLPs of the blocks, without those of gates, whose few units may be dead."""
    if targets:
        return select(sites, *targets)
    layers = (s for s in select(sites, *CONVOLUTIONAL) if not in_gate(model, s.path))
    return select(sites, "attn.in") or tuple(layers)


def none_found(
    method: str, model: nn.Module, sites: Sequence[Site], targets: Sequence[str]
) -> NoPlace:
    """The refusal of a method whose targets are not there."""
    roles = ", ".join(sorted({s.role for s in sites}))
    reason = (
        f"{method} finds none of its targets {some(targets) or 'attn.in'} in "
        f"{type(model).__name__}, which has the roles {roles}; name some of these "
        "as targets, or exact paths of `foldtune sites`"
    )
    return NoPlace(reason, model, sites)
