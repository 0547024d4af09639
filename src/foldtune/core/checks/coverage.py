"""How much of a host a method stands on, and where its places are not what they should be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from foldtune.core.edits import Edit, Train
from foldtune.core.structure.sites import Site


def coverage(sites: Sequence[Site], edits: Iterable[Edit]) -> dict[str, tuple[int, int]]:
    """For each role that an edit stands on: the sites with an edit, and all of the role."""
    edits = list(edits)
    trained = {n for e in edits if isinstance(e, Train) for n in e.names}
    edited = {(e.site.path, e.site.role) for e in edits if not isinstance(e, Train)}
    found: dict[str, tuple[int, int]] = {}
    for site in sites:
        own = {f"{site.path}.{n}" for n in (site.weight, site.bias) if n}
        held, there = found.get(site.role, (0, 0))
        stands = (site.path, site.role) in edited or bool(own & trained)
        found[site.role] = (held + stands, there + 1)
    return {role: counts for role, counts in found.items() if counts[0]}


def without_role(sites: Sequence[Site]) -> tuple[str, ...]:
    """Paths of Linear layers inside blocks that are neither attention's nor an MLP's (a talking
    head, a gate): methods that go by roles leave them alone."""
    return tuple(s.path for s in sites if s.role == "linear" and _block_of(sites, s.path))


def shortfall(model: nn.Module, sites: Sequence[Site]) -> str:
    """Why methods on this host would stand on a part of what they name; empty where all is even.

    Blocks of the same parts must have the same roles, and an attention must have projections.
    """
    kinds: dict[tuple[tuple[str, type], ...], tuple[str, frozenset[tuple[str, str]]]] = {}
    for block in (s for s in sites if s.role == "block"):
        named = model.get_submodule(block.path).named_modules()
        parts = tuple((name, type(module)) for name, module in named)
        inside = f"{block.path}."
        roles = frozenset(
            (s.path.removeprefix(inside), s.role) for s in sites if s.path.startswith(inside)
        )
        first, known = kinds.setdefault(parts, (block.path, roles))
        odd = sorted(path for path, _ in roles ^ known)
        if odd:
            return f"{block.path} and {first} are of the same parts and differ in {odd[0]}"
    into = [s.path for s in sites if s.role == "attn.in"]
    for site in (s for s in sites if s.role == "attn" and s.layout != "turned"):
        if not any(p == site.path or p.startswith(f"{site.path}.") for p in into):
            return f"no projection into the attention {site.path} was found"
    return ""


def _block_of(sites: Sequence[Site], path: str) -> bool:
    return any(s.role == "block" and path.startswith(f"{s.path}.") for s in sites)
