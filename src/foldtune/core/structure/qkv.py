"""Which rows of a fused projection make queries, keys and values: by what attention multiplies.

Thirds are a habit, no rule: TinyViT and MaxViT store the rows head by head. So one pass is watched,
and the gradient of what is multiplied says which outputs of the projection it comes from (where the
host reads the weight, which rows of it); one that has no part in it has exactly none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from foldtune.core.structure.probe import PRODUCTS, eval_mode
from foldtune.core.structure.sites import Site

_SOFTMAX: set[Callable[..., Any]] = {torch.softmax, torch.Tensor.softmax, F.softmax}
_NAMES = ("query", "key", "value")


@dataclass(frozen=True)
class _Event:
    """A product of features, or the softmax between two. given: what it was called with."""

    kind: str
    given: tuple[Tensor, ...]


def with_letters(model: nn.Module, example: Tensor, sites: Sequence[Site]) -> tuple[Site, ...]:
    """The sites, those of fused projections (3 D, D) with a letter of "qkv" for each row.

    example: (B, 3, H, W); without data (meta) nothing is told. Where the pass does not show it (an
    attention without softmax, which multiplies in another order) the letters are empty.
    """
    fused = {s.path: s for s in sites if _is_fused(model, s)}
    if not fused or example.is_meta:
        return tuple(sites)
    watch, sources, handles = _Watch(), dict[str, _Source](), []
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.requires_grad_(False)
        for path, site in fused.items():
            module = model.get_submodule(path)
            if site.called:  # its output: a quantised weight has no gradient
                handles.append(module.register_forward_hook(_starting(sources, site)))
            else:
                weight = module.get_parameter("weight").requires_grad_(True)
                sources[path] = _Source(weight, 0, len(weight))
        with eval_mode(model), torch.enable_grad(), watch:
            model(example)
        letters = {p: _letters(sources[p], watch.events) if p in sources else "" for p in fused}
    finally:
        for handle in handles:
            handle.remove()
        for p, flag in flags:
            p.requires_grad_(flag)
    for site in sites:
        if site.weight == "in_proj_weight":  # torch's own, which says so
            letters[site.path] = "".join(c * (site.channels // 3) for c in "qkv")
    return tuple(replace(s, letters=letters[s.path]) if s.path in letters else s for s in sites)


def order_of(letters: str | None) -> Tensor | None:
    """Where each row stands among those of q, then k, then v; None where they stand so already."""
    if letters is None or letters == "".join(sorted(letters, key="qkv".index)):
        return None
    sorted_rows = sorted(range(len(letters)), key=lambda row: "qkv".index(letters[row]))
    order = [0] * len(letters)
    for place, row in enumerate(sorted_rows):
        order[row] = place
    return torch.tensor(order)


def untold(method: str, site: Site) -> str:
    """Why a method that needs the letters of a site cannot stand there."""
    return (
        f"{method} cannot tell which rows of {site.path} are queries, keys and values: its "
        "attention does not multiply them around a softmax"
    )


def _is_fused(model: nn.Module, site: Site) -> bool:
    if site.role != "attn.in" or site.weight != "weight":
        return False
    weight = model.get_submodule(site.path)._parameters.get("weight")
    if weight is None or weight.ndim < 2 or len(weight) != 3 * weight.shape[1]:
        return False
    return site.called or weight.is_floating_point()


@dataclass(frozen=True)
class _Source:
    """What is asked for its part in the products: a weight, or a layer's output. axis: of rows."""

    leaf: Tensor
    axis: int
    rows: int


def _starting(sources: dict[str, _Source], site: Site) -> Callable[..., Tensor]:
    """A hook after which a layer's output depends on nothing before it."""

    def start(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        axis = 1 if site.layout == "maps" else output.ndim - 1
        leaf = output.detach().requires_grad_(True)
        sources.setdefault(site.path, _Source(leaf, axis, leaf.shape[axis]))
        return leaf.clone()  # a host may write over it

    return start


class _Watch(TorchFunctionMode):
    """Keeps what is multiplied with what in one pass, and where a softmax stands."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[_Event] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            named = dict(zip(_NAMES, args, strict=False)) | kwargs
            self.events.append(_Event("attention", tuple(named[name] for name in _NAMES)))
        elif func in PRODUCTS or func in _SOFTMAX:
            flat = [t for a in args for t in (a if isinstance(a, list | tuple) else [a])]
            given = tuple(t for t in flat if isinstance(t, Tensor) and t.requires_grad)
            if func in _SOFTMAX:
                self.events.append(_Event("softmax", given))
            elif len(given) > 1:  # a position's embedding, say, is no feature
                self.events.append(_Event("product", given))
        return func(*args, **kwargs)


def _letters(source: _Source, events: Sequence[_Event]) -> str:
    """A letter for each row, from the first attention that the source has a part in."""
    for i, event in enumerate(events):
        rows = [_rows(tensor, source) for tensor in event.given]
        if event.kind == "attention" and any(map(bool, rows)):
            return _spell(source.rows, rows)
        if event.kind == "product" and all(rows):
            return _spell(source.rows, [*rows, _values(source, rows, events[i + 1 :])])
    return ""


def _values(source: _Source, rows: Sequence[set[int]], behind: Sequence[_Event]) -> set[int]:
    """Of the product behind the softmax, the rows of what is no product of q and k."""
    kinds = [event.kind for event in behind]
    if kinds[:1] != ["softmax"] or "product" not in kinds:
        return set()
    found = [_rows(tensor, source) for tensor in behind[kinds.index("product")].given]
    return next((f for f in found if not f & (rows[0] | rows[1])), set())


def _spell(count: int, rows: Sequence[set[int]]) -> str:
    """The letters, where each row has one; empty where the three are not equal parts of it all."""
    letters = [""] * count
    for letter, own in zip("qkv", rows, strict=True):
        for row in own:
            letters[row] += letter
    whole = all(len(letter) == 1 for letter in letters)
    return "".join(letters) if whole and len({len(own) for own in rows}) == 1 else ""


def _rows(tensor: Tensor, source: _Source) -> set[int]:
    """The rows of the source that the tensor is made of."""
    if not tensor.requires_grad:
        return set()
    # Not the sum, which a norm over the features of a head would keep at zero.
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(0)).to(tensor)
    (found,) = torch.autograd.grad(
        (tensor * noise).sum(), [source.leaf], retain_graph=True, allow_unused=True
    )
    if found is None:
        return set()
    by_row = found.movedim(source.axis, 0).flatten(1)
    return set(by_row.abs().amax(1).nonzero().flatten().tolist())
