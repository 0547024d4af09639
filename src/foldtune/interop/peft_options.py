"""PEFT's configuration: which options are read, which say nothing about what is computed, and which
are refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.errors import InputError
from foldtune.interop.peft_held import held_type, refuse_options
from foldtune.interop.peft_tensors import IA3, LORA, NORMS

# Read here or in `peft_read`.
_READ = {
    "peft_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "use_dora",
    "use_rslora", "rank_pattern", "alpha_pattern", "feedforward_modules", "init_lora_weights",
}  # fmt: skip
# They say how the adapter was made or is found, and the tensors' names and shapes say the rest.
_SILENT = {
    "auto_mapping", "bias", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_ia3_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_ga_config", "megatron_config", "megatron_core",
    "modules_to_save", "peft_version", "qalora_group_size", "revision", "runtime_config",
    "target_modules", "task_type",
}  # fmt: skip
_LARGEST = 1 << 20  # bytes; rank_pattern of a large model takes some ten thousand
_ALPHA = gate.number(-1e6, 1e6)
_RANK = gate.nullable(gate.integer(0, 1 << 20))  # of OFT 0: it is given by the size of blocks
_NAMES = gate.nullable(gate.either(gate.list_of(gate.text(), 1 << 16), gate.text(1 << 20)))
_CONFIG = gate.fields(
    {"peft_type": gate.text(100)},
    {
        "base_model_name_or_path": gate.nullable(gate.text(1000)),
        "r": _RANK,
        "lora_alpha": gate.nullable(_ALPHA),
        "lora_dropout": gate.nullable(gate.number(0, 0.999)),
        "use_dora": gate.nullable(gate.flag),
        "use_rslora": gate.nullable(gate.flag),
        "rank_pattern": gate.nullable(gate.mapping_of(_RANK, 1 << 16)),
        "alpha_pattern": gate.nullable(gate.mapping_of(_ALPHA, 1 << 16)),
        "feedforward_modules": _NAMES,
        "init_lora_weights": gate.nullable(gate.either(gate.flag, gate.text(100))),
    },
)
# The start of the weights that leaves the base as it is; others (PiSSA, OLoRA, CorDA, LoftQ) take
# something out of the base at every loading.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


def checked_config(path: Path) -> dict[str, Any]:
    """PEFT's configuration in a file. Raises InputError, naming the field, for one that PEFT does
    not write."""
    found: dict[str, Any] = gate.check_value(
        gate.parse_file(path, largest=_LARGEST), _CONFIG, f"{path} is damaged or no PEFT config"
    )
    return found


def check_options(kind: Any, config: Mapping[str, Any]) -> None:
    """Raise InputError for a type of PEFT, or an option, that is not read here."""
    held = held_type(kind)
    if held is not None:
        refuse_options(held, config, _SILENT | {"peft_type", "base_model_name_or_path"})
        return
    if kind not in (LORA, IA3, NORMS):
        raise InputError(
            f"PEFT adapters of type {kind} are not read; those of type {LORA} (with DoRA), {IA3}, "
            f"{NORMS} and of the types of methods on PEFT's layers (docs/peft.md) are. Merge it "
            "with PEFT (merge_and_unload) and give the weights instead"
        )
    for name, value in config.items():
        if name not in _READ | _SILENT and value not in (None, False, [], {}, ""):
            raise InputError(
                f"the adapter uses PEFT's {name} = {value!r}, which is not read: it may change "
                "what is computed. Merge it with PEFT (merge_and_unload) instead"
            )
    if config.get("lora_alpha", 8) is None:
        raise InputError("the adapter is damaged: its lora_alpha is not set")
    start = config.get("init_lora_weights")
    if start not in _PLAIN_STARTS:
        raise InputError(
            f"the adapter was started by init_lora_weights = {start!r}, which changes the base; "
            "save it with PEFT's path_initial_model_for_weight_conversion, which turns it into a "
            "plain LoRA"
        )


def layer_settings(config: Mapping[str, Any], path: str, rank: int) -> tuple[float, float, bool]:
    """Of the layer at `path`: LoRA's scale and dropout; whether an IA3 gain is of the input."""
    alpha = _by_pattern(config.get("alpha_pattern") or {}, path, config.get("lora_alpha", 8))
    said = _by_pattern(config.get("rank_pattern") or {}, path, config.get("r", rank))
    if config["peft_type"] == LORA and said != rank:
        raise InputError(
            f"the adapter is damaged: {path} has rank {rank}, and {said} in its configuration"
        )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return scale, config.get("lora_dropout") or 0.0, _on_input(config, path)


def _by_pattern(patterns: Mapping[str, Any], path: str, default: Any) -> Any:
    """The value of the first pattern that is `path` or the end of it, as PEFT finds it."""
    for pattern, value in patterns.items():
        if _matches(rf"(.*\.)?({pattern})$", path):
            return value
    return default


def _on_input(config: Mapping[str, Any], path: str) -> bool:
    wanted: str | Iterable[str] = config.get("feedforward_modules") or ()
    if isinstance(wanted, str):
        return _matches(f"(?:{wanted})\\Z", path)
    return any(path.endswith(name) for name in wanted)


def _matches(pattern: str, path: str) -> bool:
    try:
        return re.match(pattern, path) is not None
    except re.error as error:
        raise InputError(f"the adapter's pattern {pattern!r} is none ({error})") from error
