"""The repeated units of a backbone, and the stages that its resolution makes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from foldtune.core.structure.probe import Call

# The last name of a block's path: `blocks.3`, or torchvision's `layers.encoder_layer_3`; and, where
# no such name is found, RegNet's `s1.b1`.
_NUMBERED = (re.compile(r"(\w+_)?\d+"), re.compile(r"[a-z_]+\d+"))

_GATES = ("squeeze", "excite", "semodule", "ecamodule")


def find_blocks(
    model: nn.Module, calls: dict[str, Call], layers: Mapping[str, nn.Module]
) -> tuple[str, ...]:
    """Paths of the repeated units in call order; none where what repeats is no residual unit.

    layers: all Linear layers and convolutions by path. A candidate is a numbered child of a
    container, called, with two or more layers, whose class keeps the shape of its input somewhere
    (a residual), or stands among such; it must hold no candidate. Units that hold the smaller part
    of the layers, and of their weights, are not what the network is made of (VGG and DenseNet have
    none).
    """
    weights = {p: sum(w.numel() for w in m.parameters(recurse=False)) for p, m in layers.items()}
    for pattern in _NUMBERED:
        found = _units(model, calls, layers, pattern)
        inside = tuple(f"{p}." for p in found)
        held = [p for p in layers if p.startswith(inside)]
        heavy = 2 * sum(weights[p] for p in held) > sum(weights.values())
        if heavy or 2 * len(held) > len(layers):
            return found
    return ()


def _units(
    model: nn.Module, calls: dict[str, Call], layers: Iterable[str], pattern: re.Pattern[str]
) -> tuple[str, ...]:
    held: dict[str, int] = {}
    for layer in layers:
        names = layer.split(".")
        for i in range(1, len(names)):
            above = ".".join(names[:i])
            held[above] = held.get(above, 0) + 1
    candidates = {
        path: module
        for path, module in model.named_modules()
        if path in calls and held.get(path, 0) > 1 and not isinstance(module, nn.Sequential)
        if pattern.fullmatch(path.rpartition(".")[2]) and not is_gate(module)
    }
    residual = {type(m) for p, m in candidates.items() if calls[p].keeps_shape}
    homes = {p.rpartition(".")[0] for p, m in candidates.items() if type(m) in residual}
    units = {
        p for p, m in candidates.items() if type(m) in residual or p.rpartition(".")[0] in homes
    }
    inner = {p for p in units if not any(q.startswith(f"{p}.") for q in units)}
    return tuple(p for p in calls if p in inner)


def is_gate(module: nn.Module) -> bool:
    """Whether it is a gate of channels (squeeze and excitation), by its class."""
    name = type(module).__name__
    # In capitals: a DenseLayer is none.
    return "SELayer" in name or any(word in name.lower() for word in _GATES)


def in_gate(model: nn.Module, path: str) -> bool:
    """Whether the layer is part of a gate of channels."""
    names = path.split(".")
    return any(is_gate(model.get_submodule(".".join(names[:i]))) for i in range(1, len(names)))


def _stages_of(calls: dict[str, Call], channels: dict[str, int]) -> dict[str, int]:
    """The stage of each path, from 0: it rises where an output has fewer positions than any before.

    channels: of the outputs, by path in call order. What has pooled all positions opens no stage.
    """
    stages: dict[str, int] = {}
    stage, least = 0, 0
    for path, width in channels.items():
        output = calls[path].output
        positions = output.numel() // (len(output) * width)
        if positions > 1 and (positions < least or not least):
            stage, least = stage + (least > 0), positions
        stages[path] = stage
    return stages


def with_stages(sites: Sequence[Any], calls: dict[str, Call]) -> tuple[Any, ...]:
    """The sites with their stage: a layer in a block has that of the block."""
    blocks = {s.depth: s for s in sites if s.role == "block"}
    wide = {s.path: s.channels for s in sites if s.path in calls and s.role != "head"}
    if blocks:
        wide = {p: c for p, c in wide.items() if any(p == b.path for b in blocks.values())}
    stages = _stages_of(calls, wide)
    found, current = [], 0
    for site in sites:
        home = blocks.get(site.depth, site).path
        current = stages.get(home, current)
        found.append(replace(site, stage=current))
    return tuple(found)
