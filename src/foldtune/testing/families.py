"""Where methods find their places in a published architecture, told from its structure alone.

On the meta device, so that no weight is made: which blocks, attention and MLPs are found, and which
methods stand there. `benchmarks/families.py` asks it of every architecture of timm, and through
`foldtune.testing.libraries` of transformers and open_clip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from foldtune.core.checks.coverage import coverage, shortfall, without_role
from foldtune.core.method import Method
from foldtune.core.structure.attention import attention_paths, pools
from foldtune.core.structure.finding import find_sites
from foldtune.core.structure.head import find_head
from foldtune.core.structure.probe import probe
from foldtune.core.structure.roles import within
from foldtune.core.structure.sites import Site
from foldtune.errors import InputError
from foldtune.methods.catalogue import catalogue
from foldtune.torchvision_ops import declare_missing_operators

declare_missing_operators()

# The layers that methods name by role.
_LAYERS = ("attn.in", "attn.out", "mlp.up", "mlp.down", "conv", "norm")


@dataclass(frozen=True)
class Family:
    """What was found in one architecture.

    host: its class. attention: modules that attend, but for one that pools behind the blocks;
    projected: those with a projection into them. roles: layers of each. apart: linear layers inside
    blocks without a role. stands: for each method the places that it takes of all, such as "12/12
    attn.in". refused: for each other method why.
    """

    model: str
    host: str
    blocks: int
    attention: int
    projected: int
    roles: dict[str, int]
    apart: int
    shortfall: str
    stands: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


Host = tuple[nn.Module, Sequence[int]]  # and the images that it takes, (channels, height, width)


def timm_host(name: str) -> Host:
    """The timm architecture called `name`, on the meta device."""
    import timm

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = timm.create_model(name).eval()
    return model, timm.data.resolve_model_data_config(model)["input_size"]


def sweep(name: str) -> Family:
    """The timm architecture called `name`. Raises InputError where nothing can stand on it."""
    return examine(name, *timm_host(name))


def examine(name: str, model: nn.Module, side: Sequence[int]) -> Family:
    """A model on the meta device, for images of `side`, (channels, height, width)."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        example = torch.zeros(2, *side)
        sites = find_sites(model, example, find_head(model))
        blocks = [s.path for s in sites if s.role == "block"]
        attention = [
            path
            for path in attention_paths(model, probe(model, example))
            if any(within(path, b) for b in blocks) or not pools(model, path)
        ]
        stands: dict[str, str] = {}
        refused: dict[str, str] = {}

        for method, cls in _own().items():
            try:
                covered = coverage(sites, list(cls().edits(model, sites)))
            except InputError as refusal:
                refused[method] = refusal.args[0]
                continue
            stands[method] = ", ".join(f"{n}/{of} {role}" for role, (n, of) in covered.items())
    counts = Counter(s.role for s in sites)
    return Family(
        name, type(model).__name__, counts["block"], len(attention),
        sum(_has_projection(sites, a) for a in attention),
        {role: counts[role] for role in _LAYERS if counts[role]}, len(without_role(sites)),
        shortfall(model, sites), stands, refused,
    )  # fmt: skip


def families() -> dict[str, list[str]]:
    """timm's architectures by the module that holds them."""
    import timm

    return {module: timm.list_models(module=module) for module in timm.list_modules()}


def smallest(names: list[str], host: Callable[[str], Host] = timm_host) -> str:
    """The one of fewest parameters, timm's own test models aside where there are others."""
    known = [n for n in names if not n.startswith("test_")] or names
    return known[0] if len(known) == 1 else min(known, key=lambda n: _parameters(host(n)[0]))


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _has_projection(sites: tuple[Site, ...], path: str) -> bool:
    into = (s.path for s in sites if s.role == "attn.in")
    return any(p == path or p.startswith(f"{path}.") for p in into)


def _own() -> dict[str, type[Method]]:
    """The methods of the package. Those with a library's layers stand where LoRA does, and on meta
    it may build none; what else is known is a plug-in's, or was registered in this process."""
    return {
        name: cls
        for name, cls in catalogue().items()
        if not cls.library and cls.__module__.startswith("foldtune.")
    }
