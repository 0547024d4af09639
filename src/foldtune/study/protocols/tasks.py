"""Names of tasks, and the files of this folder."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from foldtune.analysis.tasks.reference import CLASSES

PLACE = files(__package__)
_NAMES = "tasks"  # the file of other names of tasks


def stems() -> list[str]:
    """The protocols' names."""
    found = sorted(PurePath(f.name).stem for f in PLACE.iterdir() if f.name.endswith(".toml"))
    return [stem for stem in found if stem != _NAMES]


@cache
def _aliases() -> Mapping[str, Any]:
    aliases: Mapping[str, Any] = read(_NAMES)["aliases"]
    return aliases


def vtab_tasks() -> tuple[str, ...]:
    return tuple(CLASSES)


def recognise(text: str, tasks: Sequence[str]) -> str | None:
    """The task that a path, a spec such as `vtab:dtd@FOLDER` or a name means, the last named."""
    aliases = _aliases()
    for word in reversed(re.split(r"[:/@,=\\]", text)):
        bare = PurePath(word).stem.lower().replace("-", "_")
        for task in tasks:
            if bare in {name.replace("-", "_") for name in (task, *aliases.get(task, ()))}:
                return task
    return None


def read(stem: str) -> dict[str, Any]:
    return tomllib.loads((PLACE / f"{stem}.toml").read_text(encoding="utf-8"))
