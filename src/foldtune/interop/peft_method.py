"""Which of our methods a PEFT adapter is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from foldtune.core.method import Method, Stack
from foldtune.core.structure.names import bias_names, norm_names
from foldtune.core.structure.sites import ROLES, Site
from foldtune.errors import InputError
from foldtune.interop.peft_tensors import INPUT, MAGNITUDE, OUTPUT, Layer
from foldtune.methods.bitfit import BitFit
from foldtune.methods.dora import DoRA
from foldtune.methods.ia3 import IA3
from foldtune.methods.layernorm import LayerNorm
from foldtune.methods.lora import LoRA


def method_for(
    model: nn.Module,
    layers: Mapping[str, Layer],
    trained: Sequence[str],
    sites: Sequence[Site],
    held: Method | None = None,
) -> Method:
    """The method that has these layers changed and these base tensors trained, beside `held`.

    One LoRA or DoRA for each rank and scale; layers are named by roles where they are all layers
    of a role. Raises InputError where no method trains such tensors.
    """
    parts = [] if held is None else [held]
    parts += [*_low_rank(layers, sites), *_gains(layers, sites), *_norms_and_biases(model, trained)]
    if not parts:
        raise InputError("the adapter holds a classifier at most; train that with LinearProbe")
    return parts[0] if len(parts) == 1 else Stack(tuple(parts))


def _low_rank(layers: Mapping[str, Layer], sites: Sequence[Site]) -> list[Method]:
    groups: dict[tuple[bool, int, float, float], list[str]] = {}
    for path, layer in layers.items():
        if not {INPUT, OUTPUT} & set(layer.tensors):
            dora = MAGNITUDE in layer.tensors
            key = (dora, layer.rank, layer.scale, 0.0 if dora else layer.dropout)
            groups.setdefault(key, []).append(path)
    parts: list[Method] = []
    for (dora, rank, scale, dropout), paths in groups.items():
        alpha, targets = None if scale == 1.0 else scale * rank, name_by_roles(paths, sites)
        parts.append(DoRA(rank, alpha, targets) if dora else LoRA(rank, alpha, targets, dropout))
    return parts


def _gains(layers: Mapping[str, Layer], sites: Sequence[Site]) -> list[Method]:
    sides = {side: [p for p, l in layers.items() if side in l.tensors] for side in (OUTPUT, INPUT)}
    if not any(sides.values()):
        return []
    return [
        IA3(outputs=name_by_roles(sides[OUTPUT], sites), inputs=name_by_roles(sides[INPUT], sites))
    ]


def name_by_roles(paths: Iterable[str], sites: Sequence[Site]) -> tuple[str, ...]:
    """`paths` as roles as far as whole roles are among them, the rest as they are."""
    left = dict.fromkeys(paths)
    named = []
    for role in ROLES:
        members = [s.path for s in sites if s.role == role]
        if members and all(p in left for p in members):
            named.append(role)
            left = {p: None for p in left if p not in members}
    return (*named, *left)


def _norms_and_biases(model: nn.Module, names: Sequence[str]) -> list[Method]:
    """LayerNorm and BitFit, as far as needed; statistics that the adapter brings along are no
    training."""
    parameters = {n for n, _ in model.named_parameters()}
    norms, biases = set(norm_names(model)), set(bias_names(model))
    wanted = {n for n in names if n in parameters}
    for name in names:
        if name in wanted and name not in norms | biases:
            raise InputError(
                f"the adapter saves {name} whole (modules_to_save), and no method here trains just "
                "that; the classifier, norms and biases are read"
            )
    parts: list[Method] = []
    if wanted - biases or (wanted and wanted <= norms):
        parts.append(LayerNorm())
    if wanted - norms:
        parts.append(BitFit())
    return parts
