"""The sites of a backbone, found from its structure and one probe forward pass.

Nothing here knows a model by its name. Blocks are repeated residual units; attention multiplies
features with features; MLP halves are known by their shapes and call order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from foldtune.core.structure.attention import attention_paths, attention_roles, pools
from foldtune.core.structure.blocks import find_blocks, with_stages
from foldtune.core.structure.probe import Call, probe
from foldtune.core.structure.roles import (
    composite_layout,
    is_conv,
    is_pooled,
    leaf_layout,
    mlp_roles,
    parent,
    within,
)
from foldtune.core.structure.sites import Site, is_norm, stored_weight


def find_sites(model: nn.Module, example: Tensor, head: Sequence[str] = ()) -> tuple[Site, ...]:
    """All sites of `model` in the order of its forward pass.

    example: (B, 3, H, W), B >= 2 tells windows from images. head: paths of the classifier. A
    network without repeated residual units (VGG, DenseNet) has sites and no block among them.
    """
    calls = probe(model, example)
    stored = {p: m for p, m in model.named_modules() if stored_weight(m)}
    layers = {p: m for p, m in stored.items() if p not in head and not is_norm(m)}
    blocks = find_blocks(model, calls, layers)
    attention = attention_paths(model, calls)
    sites: list[Site] = []
    for depth, path in enumerate(blocks):
        own = tuple(a for a in attention if within(a, path))
        sites += _block_sites(model, calls, path, depth, own)
    inside = tuple(f"{path}." for path in blocks)
    outer = {p: m for p, m in stored.items() if not p.startswith(inside)}
    sites += _outer_sites(model, calls, blocks, outer, head, attention)
    order = {path: i for i, path in enumerate(calls)}
    here = {s.path: order.get(s.path, order.get(parent(s.path), 0)) for s in sites}
    return with_stages(sorted(sites, key=lambda s: here[s.path]), calls)


def _block_sites(
    model: nn.Module, calls: dict[str, Call], path: str, depth: int, attention: Sequence[str]
) -> list[Site]:
    block = model.get_submodule(path)
    members = {
        f"{path}.{name}": m for name, m in block.named_modules() if name and stored_weight(m)
    }
    layout = composite_layout(model, calls, path, members)
    channels = _channels(calls[path], layout)
    roles: dict[str, str] = {}
    composite = [Site(path, "block", depth, channels, layout=layout)]
    for at in attention:
        roles |= attention_roles(model, calls, at, members)
        if at != path and at in calls:
            composite.append(_attention_site(model, calls, at, depth, path, members))
    # A block that is the attention itself (ViT with parallel branches) may hold an MLP beside it.
    apart = [a for a in attention if a != path]
    rest = {
        p: m for p, m in members.items() if p not in roles and not any(within(p, a) for a in apart)
    }
    found, mixers = mlp_roles(model, calls, path, rest, channels)
    roles |= found
    for at, role in mixers.items():
        if at != path and at in calls:
            turned = role == "attn"
            mixer_layout = "turned" if turned else composite_layout(model, calls, at, members)
            composite.append(
                Site(at, role, depth, channels, layout=mixer_layout, feeder=_feeder(calls, at))
            )
    for p, m in members.items():
        role = roles.get(p) or ("norm" if is_norm(m) else "conv" if is_conv(m) else "linear")
        site = _stored_site(p, m, role, depth, calls)
        across = p in found and role.startswith("attn")
        composite.append(replace(site, layout="turned") if across else site)
    return composite


def _attention_site(
    model: nn.Module, calls: dict[str, Call], at: str, depth: int, block: str,
    members: dict[str, nn.Module],
) -> Site:  # fmt: skip
    given, around = calls[at].inputs, calls[block].inputs
    layout = composite_layout(model, calls, at, members)
    seen = layout if len(given) == len(around) else "windows"
    channels = _channels(calls[at], layout)
    return Site(at, "attn", depth, channels, layout=seen, feeder=_feeder(calls, at))


def _outer_sites(
    model: nn.Module, calls: dict[str, Call], blocks: Sequence[str], members: dict[str, nn.Module],
    head: Sequence[str], attention: Sequence[str],
) -> list[Site]:  # fmt: skip
    """The sites of layers outside the blocks. Attention there (LeViT's downsampling, CrossViT's
    fusion) has its roles, but for one that pools."""
    order = {p: i for i, p in enumerate(calls)}
    sites: list[Site] = []
    projections: dict[str, str] = {}
    for at in attention:
        if not any(within(at, b) for b in blocks) and not pools(model, at):
            projections |= attention_roles(model, calls, at, members)
    first = min((p for p in members if p in order), key=lambda p: order[p], default=None)
    for path, module in members.items():
        # A layer that is only read (CLIP's attention pooling) stands where its owner is called.
        here = order.get(path, order.get(parent(path)))
        depth = -1 if here is None else sum(order[b] < here for b in blocks) - 1
        usual = "norm" if is_norm(module) else "conv" if is_conv(module) else "linear"
        if path in head:
            role, depth = "head", len(blocks)
        elif not blocks:
            role, depth = ("stem", -1) if path == first else (projections.get(path, usual), 0)
        elif depth == -1:
            role = "norm" if usual == "norm" else "stem"
        elif depth == len(blocks) - 1:
            role, depth = (
                projections.get(path, "norm" if usual == "norm" else "linear"),
                len(blocks),
            )
        else:
            role = projections.get(path, "downsample")
        site = _stored_site(path, module, role, depth, calls)
        pooled = depth == len(blocks) and is_pooled(model, calls, path)
        sites.append(replace(site, pooled=pooled))
    return sites


def _stored_site(
    path: str, module: nn.Module, role: str, depth: int, calls: dict[str, Call]
) -> Site:
    weight = stored_weight(module)
    assert weight is not None
    called = path in calls and weight == "weight"
    bias: str | None = weight.replace("weight", "bias")
    new_bias: str | None = None
    if module._parameters.get(str(bias)) is None:
        # A new bias has no use in a layer that is only read or whose output a norm alone takes (a
        # ResNet's convolutions), and an odd place in a norm that was built without one.
        readers = [c for c in calls.values() if called and c.inputs is calls[path].output]
        feeds_norm = bool(readers) and all(c.norm for c in readers)
        new_bias = None if not called or feeds_norm or is_norm(module) else bias
        bias = None
    rows = getattr(module, weight).shape[0]  # a parametrized one is no parameter
    layout = leaf_layout(module, calls[path].inputs.ndim) if path in calls else "tokens"
    return Site(path, role, depth, rows, called, weight, bias, layout, new_bias=new_bias)


def _channels(call: Call, layout: str) -> int:
    return call.output.shape[1 if layout == "maps" else -1]


def _feeder(calls: dict[str, Call], path: str) -> str | None:
    """The norm whose output tensor is exactly the input of `path`."""
    given = calls[path].inputs
    return next((p for p, c in calls.items() if c.norm and c.output is given), None)
