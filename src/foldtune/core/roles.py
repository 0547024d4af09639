"""What a stored layer is for inside its block: shapes, data flow and call order, never names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from foldtune.core.probe import Call


def attention_paths(path: str, block: nn.Module, calls: dict[str, Call]) -> list[str]:
    """Outermost modules of an attention class that hold a projection."""
    found: list[str] = []
    for name, module in block.named_modules():
        full = f"{path}.{name}"
        kind = type(module).__name__.lower()
        inside = full.startswith(tuple(f"{f}." for f in found))
        if not name or inside or full not in calls or not ("attention" in kind or "attn" in kind):
            continue
        if any(
            isinstance(m, nn.Linear) or "in_proj_weight" in m._parameters for m in module.modules()
        ):
            found.append(full)
    return found


def attention_roles(
    calls: dict[str, Call], at: str, members: dict[str, nn.Module]
) -> dict[str, str]:
    """Projections into and out of one attention, by data flow and call order.

    Into: reads as many channels as the attention does, for every image of the batch (SwinV2's
    position MLP runs once for all). Out: the last such projection that is called.
    """
    given = calls[at].inputs
    roles: dict[str, str] = {}
    linears: list[str] = []
    for p, m in members.items():
        if p == at:  # nn.MultiheadAttention: both projections are read, neither is called
            roles[p] = "attn.in"
        elif p.startswith(f"{at}.") and isinstance(m, nn.Linear):
            shape = calls[p].inputs.shape if p in calls else None
            if shape is None or (shape[0] == given.shape[0] and shape[-1] == given.shape[-1]):
                linears.append(p)
    called = sorted((p for p in linears if p in calls), key=list(calls).index)
    last = called[-1] if called else linears[-1] if linears else None
    for p in linears:
        m = members[p]
        assert isinstance(m, nn.Linear)
        if p == last:
            roles[p] = "attn.out"
        elif m.in_features == given.shape[-1]:
            roles[p] = "attn.in"
    return roles


def mlp_roles(
    calls: dict[str, Call], block: str, members: dict[str, nn.Module], channels: int
) -> tuple[dict[str, str], dict[str, str]]:
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
        shape = _pointwise(members[p], p)
        if shape is None:
            continue
        out_size, in_size = shape
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
    return roles, mixers


def _pointwise(module: nn.Module, path: str) -> tuple[int, int] | None:
    """(out, in) of a Linear, or of a 1x1 convolution inside an MLP class; else None."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    # A ResNet's or MobileNet's 1x1 convolutions are no MLP; those of a module named so are.
    in_mlp = parent(path).rpartition(".")[2].lower().endswith("mlp")
    if in_mlp and isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
        return module.out_channels, module.in_channels
    return None


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
