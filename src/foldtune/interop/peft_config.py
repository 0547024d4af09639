"""Which PEFT adapter an attachment is: its configuration and tensors.

Layers are named by an anchored pattern of full paths, since in a list PEFT takes each name for an
ending, too: `norm` would also be `blocks.0.attn.norm`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from foldtune.core.attachment import Attachment
from foldtune.core.edits import Rewire, Train
from foldtune.core.structure.names import norm_names
from foldtune.errors import InputError
from foldtune.interop.peft_held import held_config, held_deltas
from foldtune.interop.peft_tensors import (
    GAIN,
    HAVE_A_FORM,
    IA3,
    INPUT,
    LORA,
    MAGNITUDE,
    NORMS,
    OUTPUT,
    A,
    B,
    Layer,
    check_layer,
    layer_of,
)


@dataclass
class Adapter:
    """What becomes the folder: PEFT's configuration, its tensors without the prefix, and those
    that it keeps beside the layers."""

    config: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    beside: dict[str, Tensor] = field(default_factory=dict)


def adapter_of(attachment: Attachment) -> Adapter:
    """Configuration and tensors of the PEFT adapter that computes what `attachment` does.

    Raises InputError where there is none.
    """
    held = [path for path, _ in held_deltas(attachment)]
    layers = {} if held else _layers(attachment)
    trained = attachment.base_names
    if held:
        adapter, targets = _held_adapter(attachment, held), held
    elif not layers:
        norms = _norms_of(attachment, trained)
        if not norms or len(norms) < len({_owner(n) for n in trained}):
            raise _no_form(attachment)
        adapter = Adapter({"peft_type": NORMS, "target_modules": _pattern(norms)})
        _add_modules(adapter, attachment.model, norms, ".ln_tuning_layers")
        targets = norms
    else:
        gains = any(OUTPUT in layer.tensors or INPUT in layer.tensors for layer in layers.values())
        adapter = _gains(attachment, layers) if gains else _low_rank(attachment, layers)
        targets = list(layers)
    saved = list(attachment.head)
    if (layers or held) and trained:
        saved += _add_trained(adapter, attachment, layers)
    _check_saved(attachment.model, saved, targets)
    adapter.config["modules_to_save"] = saved
    _add_modules(adapter, attachment.model, attachment.head)
    return adapter


def _held_adapter(attachment: Attachment, paths: Sequence[str]) -> Adapter:
    """Of a method that holds PEFT's layers; norms that train come with it, nothing else."""
    edits = [e for e in attachment.edits if not isinstance(e, Train)]
    for edit in edits:
        check_layer(attachment.model, edit.site)
    if len(edits) > len(set(paths)) or any(_axes(attachment.model, path) for path in paths):
        raise _no_form(attachment)
    options, tensors = held_config(attachment)
    adapter = Adapter({**options, "target_modules": _pattern(paths)})
    for name, tensor in tensors.items():
        (adapter.tensors if "." in name else adapter.beside)[name] = tensor
    return adapter


def _layers(attachment: Attachment) -> dict[str, Layer]:
    """What PEFT keeps, by path of the layer."""
    layers: dict[str, Layer] = {}
    for edit in attachment.edits:
        if isinstance(edit, Rewire):
            raise InputError(
                f"{attachment.method!r} has no PEFT form: {type(edit.adapter).__name__} at "
                f"{edit.site.path} is a side network. {HAVE_A_FORM}"
            )
        if isinstance(edit, Train):
            continue
        layer, path = layer_of(edit.delta), edit.site.path
        check_layer(attachment.model, edit.site)
        if path in layers:
            raise InputError(
                f"{attachment.method!r} has no PEFT form: it changes {path} twice, and PEFT's one "
                f"adapter changes a layer once. {HAVE_A_FORM}"
            )
        layers[path] = layer
    kinds = {frozenset(layer.tensors) - {INPUT, OUTPUT} for layer in layers.values()}
    if len(kinds) > 1 or len({layer.dropout for layer in layers.values()}) > 1:
        raise _no_form(attachment)
    return layers


def _no_form(attachment: Attachment) -> InputError:
    return InputError(
        f"{attachment.method!r} has no PEFT form: one adapter is of one kind, with one dropout, on "
        f"layers that PEFT wraps. {HAVE_A_FORM}"
    )


def _low_rank(attachment: Attachment, layers: Mapping[str, Layer]) -> Adapter:
    """LoRA or DoRA; where rank or alpha differ between layers, the rarer ones by pattern."""
    settings = {path: (layer.rank, layer.scale * layer.rank) for path, layer in layers.items()}
    (rank, alpha), _ = Counter(settings.values()).most_common(1)[0]
    dora = any(MAGNITUDE in layer.tensors for layer in layers.values())
    adapter = Adapter(
        {
            "peft_type": LORA,
            "r": rank,
            "lora_alpha": _plain(alpha),
            "lora_dropout": next(iter(layers.values())).dropout,
            "use_dora": dora,
            "use_rslora": False,
            "init_lora_weights": True,
            "bias": "none",
            "fan_in_fan_out": False,
            "target_modules": _pattern(layers),
            # PEFT lets such a key fit an ending, and the caret forbids it.
            "rank_pattern": {f"^{re.escape(p)}": r for p, (r, _) in settings.items() if r != rank},
            "alpha_pattern": {
                f"^{re.escape(p)}": _plain(a) for p, (_, a) in settings.items() if a != alpha
            },
        }
    )
    for path, layer in layers.items():
        axes = _axes(attachment.model, path)
        for name in (A, B):
            matrix = layer.tensors[name]
            adapter.tensors[f"{path}.{name}.weight"] = matrix.view(*matrix.shape, *axes)
        if dora:
            m = layer.tensors[MAGNITUDE]
            adapter.tensors[f"{path}.{MAGNITUDE}"] = m.view(1, -1, *axes) if axes else m
    return adapter


def _gains(attachment: Attachment, layers: Mapping[str, Layer]) -> Adapter:
    inputs = [path for path, layer in layers.items() if INPUT in layer.tensors]
    adapter = Adapter(
        {
            "peft_type": IA3,
            "target_modules": _pattern(layers),
            "feedforward_modules": _pattern(inputs),
            "fan_in_fan_out": False,
            "init_ia3_weights": True,
        }
    )
    for path, layer in layers.items():
        ((side, gain),) = layer.tensors.items()
        axes = _axes(attachment.model, path)
        column = side == OUTPUT and not axes
        shape = (-1, 1) if column else (1, -1, *axes)
        adapter.tensors[f"{path}.{GAIN}"] = gain.reshape(shape)
    return adapter


def _add_trained(
    adapter: Adapter, attachment: Attachment, layers: Mapping[str, Layer]
) -> list[str]:
    """Biases and norms that train beside the layers; returns the modules to save.

    All biases are PEFT's `bias="all"`; norms are modules to save. Raises InputError for others.
    """
    names = attachment.base_names
    norms = _norms_of(attachment, names)
    rest = [n for n in names if _owner(n) not in norms]
    if all(n.endswith(".bias") for n in names) and adapter.config["peft_type"] == LORA:
        state = attachment.named_tensors()
        for name in names:
            owner = _owner(name)
            inside = ".base_layer.bias" if owner in layers else ".bias"
            adapter.tensors[f"{owner}{inside}"] = state[name]
        adapter.config["bias"] = "all"
        return []
    if rest:
        raise InputError(
            f"{attachment.method!r} has no PEFT form: it also trains {rest[0]}. {HAVE_A_FORM}"
        )
    _add_modules(adapter, attachment.model, norms)
    return norms


def _norms_of(attachment: Attachment, names: Iterable[str]) -> list[str]:
    """Paths of the norms that `names` belong to."""
    norms = {_owner(n) for n in norm_names(attachment.model)}
    return list(dict.fromkeys(_owner(n) for n in names if _owner(n) in norms))


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _add_modules(
    adapter: Adapter, model: nn.Module, paths: Iterable[str], inside: str = ""
) -> None:
    """Whole modules, running statistics included: PEFT copies the module and asks for each."""
    for path in paths:
        for name, tensor in model.get_submodule(path).state_dict().items():
            adapter.tensors[f"{path}{inside}.{name}"] = tensor


def _check_saved(model: nn.Module, saved: Sequence[str], targets: Sequence[str]) -> None:
    """Raise InputError where PEFT, which goes by endings, would save other modules too."""
    for path, module in model.named_modules():
        hit = next((s for s in saved if path.endswith(s) and path not in saved), None)
        if hit and next(module.parameters(), None) is not None:
            raise InputError(
                f"PEFT has no form for this tuning: it saves modules by their ending, and {hit!r} "
                f"is the ending of {path}, too"
            )
    for target in targets:
        if hit := next((s for s in saved if re.match(rf"(^|.*\.){s}($|\..*)", target)), None):
            raise InputError(
                f"PEFT has no form for this tuning: it adapts nothing inside a saved module, and "
                f"takes {target} for a part of {hit!r}"
            )


def _pattern(paths: Iterable[str]) -> str:
    """A pattern that fits these paths and no other."""
    return f"^({'|'.join(map(re.escape, paths))})$"


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _axes(model: nn.Module, path: str) -> tuple[int, ...]:
    return (1, 1) if isinstance(model.get_submodule(path), nn.Conv2d) else ()
