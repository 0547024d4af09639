"""What a stored layer is for inside its block: shapes, data flow and call order, never names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from foldtune.core.structure.blocks import is_gate
from foldtune.core.structure.probe import Call

# What hosts call a feed-forward half.
_MLPS = ("mlp", "ffn", "feedforward", "feed_forward")


def mlp_roles(
    model: nn.Module, calls: dict[str, Call], block: str, members: dict[str, nn.Module],
    channels: int,
) -> tuple[dict[str, str], dict[str, str]]:  # fmt: skip
    """Up and down projections outside attention, and the modules that hold a pair of them.

    Two projections over tokens (Mixer) make their module the token mixer, role "attn"; one alone
    (ResMLP, gMLP's gate) is a mixer's last, "attn.out".
    """
    roles: dict[str, str] = {}
    mixers: dict[str, str] = {}
    tokens = calls[block].inputs.shape[1] if calls[block].inputs.ndim == 3 else None
    ups: list[str] = []
    across: dict[str, list[str]] = {}
    for p in sorted((p for p in members if p in calls), key=list(calls).index):
        linear = isinstance(members[p], nn.Linear)
        if not is_pointwise(members[p]) or not (linear or _in_mlp(model, block, p)):
            continue
        out_size, in_size = sizes_of(members[p])
        turned = tokens is not None and calls[p].inputs.shape[1] != tokens
        if turned and (in_size == tokens or parent(p) in across):
            across.setdefault(parent(p), []).append(p)
        elif ups and out_size == channels:
            roles |= dict.fromkeys(ups, "mlp.up") | {p: "mlp.down"}
            mixers[_common([*ups, p])] = "mlp"
            ups = []
        elif in_size == channels:
            ups.append(p)
    for at, (*into, last) in across.items():
        roles |= dict.fromkeys(into, "attn.in") | {last: "attn.out"}
        mixers |= {at: "attn"} if into else {}
    left = [p for p in members if p in calls and p not in roles]
    return roles | _narrow_mlps(model, calls, block, members, left), mixers


def _narrow_mlps(
    model: nn.Module, calls: dict[str, Call], block: str, members: dict[str, nn.Module],
    left: Sequence[str],
) -> dict[str, str]:  # fmt: skip
    """Projections of MLPs of another width than the block's (TNT's inner one)."""
    together: dict[str, list[str]] = {}
    for p in sorted(left, key=lambda p: calls[p].at):
        if isinstance(members[p], nn.Linear) and _in_mlp(model, block, p):
            together.setdefault(parent(p), []).append(p)
    roles: dict[str, str] = {}
    for group in together.values():
        sizes = [sizes_of(members[p]) for p in group]
        if len(group) > 1 and sizes[0][1] == sizes[-1][0]:
            roles |= dict.fromkeys(group[:-1], "mlp.up") | {group[-1]: "mlp.down"}
    return roles


def _in_mlp(model: nn.Module, block: str, path: str) -> bool:
    """Whether a module around the layer, within the block, is called an MLP.

    A ResNet's or MobileNet's 1x1 convolutions are none.
    """
    names = path.removeprefix(f"{block}.").split(".")[:-1]
    inside = [".".join([block, *names[: i + 1]]) for i in range(len(names))]
    modules = [model.get_submodule(p) for p in inside]
    if any(map(is_gate, modules)):
        return False
    kinds = [type(m).__name__ for m in modules]
    return any(word in text.lower() for text in (*names, *kinds) for word in _MLPS)


def is_pointwise(module: nn.Module) -> bool:
    """A Linear, or a 1x1 convolution of all channels."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return set(module.kernel_size) == {1} and module.groups == 1
    return isinstance(module, nn.Linear)


def sizes_of(module: nn.Module) -> tuple[int, int]:
    """(out, in) of a pointwise layer."""
    weight: Tensor = getattr(module, "weight")  # noqa: B009 - a parametrized one is no parameter
    out_size, in_size = weight.shape[:2]
    return out_size, in_size


def within(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")


def leaf_layout(module: nn.Module, ndim: int) -> str:
    """Where the channels of a stored-weight module are: fixed by its class, never by sizes."""
    if ndim <= 3:
        return "tokens"
    maps = (
        is_conv(module)
        or "2d" in type(module).__name__
        or isinstance(module, nn.GroupNorm | nn.BatchNorm2d)
    )
    return "maps" if maps else "grid"


def composite_layout(
    model: nn.Module, calls: dict[str, Call], path: str, members: dict[str, nn.Module]
) -> str:
    """Layout of a composite's input: that of the first member which reads the very same tensor."""
    given = calls[path].inputs
    if given.ndim == 3:
        return "tokens"
    inside = [p for p in calls if p in members and p.startswith(f"{path}.")]
    same = [p for p in inside if calls[p].inputs is given] or inside
    return leaf_layout(members[same[0]], given.ndim) if same else "maps"


def is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)


def moves_positions(module: nn.Module) -> bool:
    """Whether a convolution gives other positions than it is given: it strides or pads."""
    return isinstance(module, nn.Conv2d) and (
        module.stride != (1, 1) or module.padding not in ((0, 0), "valid", "same")
    )


def parent(path: str) -> str:
    return path.rpartition(".")[0]


def _common(paths: Sequence[str]) -> str:
    """The innermost module that holds all of `paths`."""
    split = [p.split(".")[:-1] for p in paths]
    shared = []
    for names in zip(*split, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return ".".join(shared)


def is_pooled(model: nn.Module, calls: dict[str, Call], path: str) -> bool:
    """Whether `path`, behind the last block, reads (B, C) or exactly what a pooling gave."""
    if path not in calls or calls[path].inputs.ndim == 2:
        return path in calls
    makers = [p for p, c in calls.items() if c.output is calls[path].inputs]
    return any("pool" in type(model.get_submodule(p)).__name__.lower() for p in makers)
