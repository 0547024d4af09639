"""Named places of a backbone: what a site is, and how one is chosen.

Selection is by exact path or exact role. `finding` finds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from foldtune.errors import InputError, unknown_name

Role = Literal[
    "block", "attn", "mlp", "attn.in", "attn.out", "mlp.up", "mlp.down",
    "norm", "conv", "linear", "stem", "downsample", "head",
]  # fmt: skip
ROLES: tuple[str, ...] = Role.__args__  # type: ignore[attr-defined]
Layout = Literal["tokens", "grid", "maps", "windows", "turned"]


@dataclass(frozen=True)
class Site:
    """One named place of a backbone.

    path: module path in the host.
    role: one of ROLES; "attn" is the token mixer of a block, attention or not.
    depth: index of the block; -1 before the first, the number of blocks after the last.
    channels: size of the output's channel axis (for a stored weight, its rows).
    called: False where the host reads the stored tensors itself and never calls the module.
    weight, bias: names of the stored tensors; None where there is none.
    new_bias: the name under which a bias could be created: none is stored, and the module is
        called, so that one would be read.
    layout: where the channels are: tokens (B, N, C), grid (B, H, W, C), maps (B, C, H, W),
        windows (B windows, N, C) in an attention that sees one window at a time, and turned
        (B, C, N) in a token mixer of Linear layers, which fixes the number of tokens.
    feeder: path of the norm whose output is exactly this module's input, if any.
    pooled: it stands behind the pooling over positions.
    stage: counted from 0, as blocks lower the resolution.
    letters: a letter of "qkv" for each row of a fused projection, where a method asks for it
        (`core.qkv`); empty where it cannot be told.
    """

    path: str
    role: str
    depth: int
    channels: int
    called: bool = True
    weight: str | None = None
    bias: str | None = None
    layout: str = "tokens"
    feeder: str | None = None
    pooled: bool = False
    new_bias: str | None = None
    stage: int = 0
    letters: str | None = None

    def with_bias(self) -> Site:
        """The site with a bias, one to be created where none is stored and one would be read."""
        return self if self.bias is not None else replace(self, bias=self.new_bias)


def select(sites: Iterable[Site], *wanted: str) -> tuple[Site, ...]:
    """The sites whose path or role is exactly one of `wanted`.

    `select(sites, "blocks.1.mlp.fc1")` never touches `blocks.10`. Raises InputError for a name
    that is neither a role nor a path.
    """
    sites = tuple(sites)
    paths = {s.path for s in sites}
    for name in wanted:
        if name not in paths and name not in ROLES:
            raise unknown_name("site", name, [*ROLES, *sorted(paths)])
    return tuple(s for s in sites if s.path in wanted or s.role in wanted)


def is_norm(module: nn.Module) -> bool:
    """Whether the module is a normalisation with an affine: its class says so and it is 1-D."""
    weight = module._parameters.get("weight")
    name = type(module).__name__
    return (
        weight is not None
        and weight.ndim == 1
        and "norm" in name.lower()
        and "ResponseNorm" not in name  # ConvNeXt V2's GRN mixes channels' responses; not a norm
    )


def stored_weight(module: nn.Module) -> str | None:
    """The name of the stored weight of a Linear, convolution, norm or attention, else None."""
    if module._parameters.get("in_proj_weight") is not None:
        return "in_proj_weight"  # nn.MultiheadAttention
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) or is_norm(module):
        return "weight"
    return None


def stored_matrix(model: nn.Module, site: Site, method: str) -> Tensor:
    """The stored weight of a Linear, (out, in), or of a 1x1 convolution, (out, in, 1, 1).

    Raises InputError, naming the method, where the site stores something else.
    """
    # A parametrized or pruned one is no parameter: who stands there is refused when it is tried.
    weight = getattr(model.get_submodule(site.path), site.weight or "", None)
    if weight is None or weight.ndim < 2 or weight.shape[2:].numel() != 1:
        raise InputError(f"{method} needs a matrix; {site.path} ({site.role}) stores none")
    return weight
