"""foldtune.json: what an exported folder says of itself, and is held to when it is opened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.backbones.loading import ABOUT as ABOUT
from foldtune.core.header import CLASSES
from foldtune.core.tuningfile import EXPORTED
from foldtune.errors import InputError
from foldtune.files import hash_of
from foldtune.tunings.export.hosts import LIVE, TIMM, TRANSFORMERS

FORMAT = 1
_NAME = gate.text(1000)
_ABOUT = gate.fields(
    {
        "format": gate.integer(1, 1 << 20),
        "kind": _NAME,
        "method": gate.text(2000),
        "classes": gate.list_of(gate.text(), CLASSES),
        "files": gate.mapping_of(_NAME, 64),
    },
    {"temperature": gate.nullable(gate.number(1e-3, 1e3)), "task": gate.nullable(gate.text(2000))},
)


def is_exported(path: Path) -> bool:
    """Whether the path is a folder that `export` wrote."""
    return (path / ABOUT).is_file()


def write_about(folder: Path, told: Mapping[str, Any]) -> None:
    """Write it, with the hash of every file that is in the folder so far."""
    files = {
        p.relative_to(folder).as_posix(): hash_of(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != ABOUT
    }
    text = json.dumps({"format": FORMAT, **told, "files": files}, indent=2, allow_nan=False)
    (folder / ABOUT).write_text(text + "\n")


def read_about(folder: Path) -> dict[str, Any]:
    """What the folder says of itself. Raises InputError for a damaged or later one, and where its
    weights are not those that were written."""
    place = folder / ABOUT
    told: dict[str, Any] = gate.check_value(gate.parse_file(place), _ABOUT, place)
    if told["format"] > FORMAT or told["kind"] not in (TIMM, TRANSFORMERS, LIVE):
        raise InputError(f"{place} is of a later foldtune ({told['kind']}); install that")
    for name, known in told["files"].items():
        if not name.endswith(".safetensors") or (Path(name).name != name and name != EXPORTED):
            continue
        if not (folder / name).is_file() or hash_of(folder / name) != known:
            raise InputError(
                f"{folder / name} is not as it was written: it was altered, damaged or left out; "
                "export or copy the folder again"
            )
    return told
