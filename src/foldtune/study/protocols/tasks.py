"""Names of tasks, and the files of this folder."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

PLACE = files(__package__)
_NAMES = "tasks"  # the file of names of tasks and settings


def stems() -> list[str]:
    """The protocols' names."""
    found = sorted(PurePath(f.name).stem for f in PLACE.iterdir() if f.name.endswith(".toml"))
    return [stem for stem in found if stem != _NAMES]


@cache
def names() -> Mapping[str, Any]:
    """Names of tasks, of their groups, and of the published tables' methods and settings."""
    return read(_NAMES)


def vtab_tasks() -> tuple[str, ...]:
    return tuple(task for group in names()["vtab"].values() for task in group)


def recognised(text: str, tasks: Sequence[str]) -> str | None:
    """The task that a path, a spec such as `vtab:dtd@FOLDER` or a name means, the last named."""
    aliases = names()["aliases"]
    for word in reversed(re.split(r"[:/@,=\\]", text)):
        bare = PurePath(word).stem.lower().replace("-", "_")
        for task in tasks:
            if bare in {name.replace("-", "_") for name in (task, *aliases.get(task, ()))}:
                return task
    return None


def read(stem: str) -> dict[str, Any]:
    return tomllib.loads((PLACE / f"{stem}.toml").read_text(encoding="utf-8"))
