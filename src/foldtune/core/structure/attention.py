"""Where a backbone attends, and which projections lead into and out of its attention."""

from __future__ import annotations

from torch import nn

from foldtune.core.structure.probe import Call
from foldtune.core.structure.roles import is_pointwise, leaf_layout, parent, sizes_of, within


def attention_paths(model: nn.Module, calls: dict[str, Call]) -> tuple[str, ...]:
    """Modules that are attention with projections of their own, in order of entry.

    Attention multiplies features with features; what does not (MobileViTv2's and SwiftFormer's
    weigh them one by one) is known by its class.
    """
    found: list[str] = []
    for path, call in calls.items():
        if not path or not call.products or not _mixes_positions(call):
            continue
        at = _with_projections(model, calls, path)
        if at and at not in found:
            found.append(at)
    # From the inside: a block, too, may be called after its attention (open_clip's).
    for path, module in reversed(list(model.named_modules())):
        named = isinstance(module, nn.MultiheadAttention) or (
            _is_called_attention(module) and path in calls and _weighs_positions(model, calls, path)
        )
        related = any(within(path, f) or within(f, path) for f in found)
        if path and named and not related:
            found.append(path)
    return tuple(sorted(found, key=lambda p: calls[p].at if p in calls else -1))


def _mixes_positions(call: Call) -> bool:
    """A pooled context (GlobalContext) has one value a channel; attention one a position as well.

    Of a map of one position both are one value; then only attention multiplies twice.
    """
    size = max(p.size for p in call.products)
    one = call.inputs.ndim == 4 and call.inputs.shape[2:].numel() == 1
    return 10 * size >= call.output.numel() and not (one and len(call.products) < 2)


def _with_projections(model: nn.Module, calls: dict[str, Call], path: str) -> str:
    """The module itself or the nearest above it with projections; and the one that is around it
    where that alone brings the last projection (transformers). Empty where none has any before
    it holds other attention (a rotary embedding beside all blocks)."""
    first = path
    while path and not any(is_pointwise(m) for m in model.get_submodule(path).modules()):
        path = parent(path)
    if any(p != first and c.products and within(p, path) for p, c in calls.items() if path):
        return path if path == first else ""
    above = parent(path)
    if above and _is_called_attention(model.get_submodule(above)):
        own = dict(model.get_submodule(above).named_modules())
        beside = [m for n, m in own.items() if n and not within(f"{above}.{n}", path)]
        stored = [m for m in beside if m._parameters.get("weight") is not None]
        if len(stored) == 1 and is_pointwise(stored[0]):
            return above
    return path


def _weighs_positions(model: nn.Module, calls: dict[str, Call], path: str) -> bool:
    """Whether its projections read and write every position, as those of a gate do not."""
    given = calls[path].inputs
    width = _width(model, calls, path)
    rows = given.numel() // width
    inside = [
        m
        for p, m in model.named_modules()
        if within(p, path) and p in calls and is_pointwise(m) and rows > len(given)
        if calls[p].inputs.numel() == rows * sizes_of(m)[1]
    ]
    reads, writes = (any(sizes_of(m)[i] == width for m in inside) for i in (1, 0))
    return len(inside) > 1 and reads and writes


def _width(model: nn.Module, calls: dict[str, Call], path: str) -> int:
    """The number of channels that a module is given: where is told by what reads the very tensor,
    else by the first of its layers that reads as many."""
    given = calls[path].inputs
    for p, m in model.get_submodule(path).named_modules():
        full = f"{path}.{p}"
        if p and full in calls and calls[full].inputs is given and hasattr(m, "weight"):
            return given.shape[1 if leaf_layout(m, given.ndim) == "maps" else -1]
    if given.ndim == 4:
        sizes = {sizes_of(m)[1] for m in model.get_submodule(path).modules() if is_pointwise(m)}
        if given.shape[-1] not in sizes and given.shape[1] in sizes:
            return given.shape[1]
    return given.shape[-1]


def attention_roles(
    model: nn.Module, calls: dict[str, Call], at: str, members: dict[str, nn.Module]
) -> dict[str, str]:
    """Projections into and out of one attention, by data flow and call order.

    Into: called before the last product; reads as many channels as the attention does, or a part
    of them at every position, for every image of the batch (SwinV2's position MLP runs once for
    all). Out: the first one behind it. members: stored layers inside, by path.
    """
    roles: dict[str, str] = {}
    if at not in calls or isinstance(model.get_submodule(at), nn.MultiheadAttention):
        # nn.MultiheadAttention: both projections are read, neither is called.
        out = [p for p, m in members.items() if p != at and within(p, at) and is_pointwise(m)]
        return {p: "attn.in" for p in members if p == at} | dict.fromkeys(out[-1:], "attn.out")
    batch, width = len(calls[at].inputs), _width(model, calls, at)
    rows = calls[at].inputs.numel() // width
    products = [p.at for path, c in calls.items() if within(path, at) for p in c.products]
    before = max(products, default=None)
    inner = {p: m for p, m in members.items() if within(p, at) and is_pointwise(m)}
    called = sorted(
        (p for p in inner if p in calls and len(calls[p].inputs) % batch == 0),
        key=lambda p: calls[p].at,
    )
    behind = called[-1:] if before is None else [p for p in called if calls[p].at >= before]
    for p, m in inner.items():
        size = sizes_of(m)[1]
        reads = size == width or (
            size > 1 and p in called and calls[p].inputs.numel() == rows * size
        )
        if p in behind[:1]:
            roles[p] = "attn.out"
        elif reads and p not in behind and (p in called or p not in calls):
            roles[p] = "attn.in"
    return roles


def _is_called_attention(module: nn.Module) -> bool:
    kind = type(module).__name__.lower()
    return "attention" in kind or "attn" in kind


def pools(model: nn.Module, path: str) -> bool:
    """Whether an attention outside the blocks pools the positions, by its name, its class or that
    of its parent (SigLIP's head)."""
    above = path.rpartition(".")[0]
    kinds = [type(model.get_submodule(p)).__name__ for p in (path, above) if p]
    return "pool" in f"{path} {kinds}".lower()
