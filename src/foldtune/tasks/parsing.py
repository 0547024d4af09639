"""Tasks from text, as methods are: `MultiLabel`, `ordinal`, `Ordinal(levels=('a', 'b'))`."""

from __future__ import annotations

import ast
from dataclasses import fields
from typing import Any

from foldtune.errors import InputError, unknown_name
from foldtune.tasks.kinds import TASKS, MultiLabel, Ordinal
from foldtune.tasks.task import SEPARATORS, Task

_LONGEST = 20_000  # characters
_BY_NAME = {name.lower(): cls for name, cls in TASKS.items()}


def is_task(text: str) -> bool:
    """Whether a text begins with the name of a task, in any case: not that it is a right one."""
    return text.partition("(")[0].strip().lower() in _BY_NAME


def parse_task(text: str) -> Task:
    """The task that a text spells. Only literals are read. Raises InputError for anything else."""
    if len(text) > _LONGEST:
        raise InputError(f"a task of {len(text)} characters is none; write e.g. MultiLabel")
    name, bracket, _ = text.strip().partition("(")
    cls = _BY_NAME.get(name.strip().lower())
    if cls is None:
        raise unknown_name("task", name[:80], TASKS)
    return _build(cls, _settings(cls, text.strip()) if bracket else {})


def _settings(cls: type[Task], text: str) -> dict[str, Any]:
    known = [f.name for f in fields(cls)]
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError
        values = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise InputError(f"cannot read the task {text[:200]!r}; write e.g. MultiLabel()") from None
    for name in values:
        if name not in known:
            raise unknown_name(f"setting of {cls.__name__}", name or "**", known)
    return {str(name): value for name, value in values.items()}


def _build(cls: type[Task], values: dict[str, Any]) -> Task:
    if cls is Ordinal and "levels" in values:
        levels = values["levels"]
        whole = isinstance(levels, tuple | list) and len(set(map(str, levels))) == len(levels) > 1
        if not whole:
            raise InputError(f"Ordinal: levels={levels!r} are no two or more different grades")
        values["levels"] = tuple(map(str, levels))
    if cls is MultiLabel and values.get("separator", "|") not in SEPARATORS:
        raise unknown_name("separator of MultiLabel", str(values["separator"]), SEPARATORS)
    return cls(**values)
