"""What a merged file says of itself, so that it can be used by whoever finds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from foldtune import gate
from foldtune.backbones import Backbone
from foldtune.core.header import CLASSES, check_header
from foldtune.tasks.task import Task

_FIELD = "foldtune.merged"  # of the file's metadata
_NAME = gate.text(1000)
_MERGED = gate.fields(
    {"name": _NAME, "classes": gate.list_of(gate.text(), CLASSES), "transform": gate.anything},
    {"data": gate.anything, "method": gate.text(2000), "task": gate.nullable(gate.text(2000))},
)


def merged_as(backbone: Backbone, header: Mapping[str, Any], task: Task) -> dict[str, str]:
    """The metadata of a merged file: all that is needed to use it. task: of its outputs."""
    told = {
        "name": backbone.name, "classes": header["classes"], "method": header["method"],
        "transform": asdict(backbone.transform), "data": header.get("data") or {},
        "task": None if task.usual else repr(task),
    }  # fmt: skip
    return {_FIELD: json.dumps(told, allow_nan=False)}


def read_merged(path: Path) -> dict[str, Any] | None:
    """What a merged file says of itself; None where it is none."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_FIELD)
    except (SafetensorError, OSError):
        return None
    if text is None:
        return None
    found = gate.check_value(gate.parse(text, path), _MERGED, path)
    return _check(found, path)


def _check(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """Its transform and data, held to what a tuning's header may say of these."""
    fields = {"backbone": {"name": found["name"], "transform": found["transform"]}}
    own = {"format": 1, "foldtune": "", "method": "", "head": [], "num_classes": 1}
    own |= {"base_keys": {}, "base_hash": ""}
    check_header(own | fields | {"data": found.get("data") or {}}, str(path))
    return found
