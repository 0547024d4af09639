"""All known methods, by name, and the parsing of `SSF() + LoRA(rank=8)` without `eval`."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
from importlib.metadata import entry_points
from typing import Any

from foldtune.core.method import Method, Stack, settings
from foldtune.errors import InputError, unknown

# A third party's package names its Method classes under this entry point group.
_GROUP = "foldtune.methods"


@functools.cache
def catalogue() -> dict[str, type[Method]]:
    """Every known method class by name: our own, then those of installed plug-ins."""
    own = vars(importlib.import_module("foldtune.methods")).values()
    known = {
        cls.__name__: cls
        for cls in own
        if isinstance(cls, type) and issubclass(cls, Method) and cls not in (Method, Stack)
    }
    for point in entry_points(group=_GROUP):
        known.setdefault(point.name, point.load())
    return known


def cards() -> list[dict[str, Any]]:
    """For each method its name, what it is in one line, its settings and its full card."""
    return [
        {
            "method": name,
            "what": (cls.__doc__ or "").strip().splitlines()[0],
            "settings": ", ".join(f"{k}={v!r}" for k, v in settings(cls()).items()),
            "starts_as_identity": cls().starts_as_identity,
            "card": inspect.cleandoc(cls.__doc__ or ""),
        }
        for name, cls in catalogue().items()
    ]


def parse(text: str) -> Method:
    """The method that `text` spells, such as `LoRA(rank=8)`, `SSF` or `SSF() + LoRA(rank=4)`.

    Only literals are read; nothing is evaluated. Raises InputError for anything else, naming the
    known methods or fields, nearest first.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"cannot read the method {text!r}; write e.g. LoRA(rank=8)") from error
    parts = [_part(node, text) for node in _summands(tree)]
    return parts[0] if len(parts) == 1 else Stack(tuple(parts))


def _summands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_summands(node.left), *_summands(node.right)]
    return [node]


def _part(node: ast.expr, text: str) -> Method:
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name):
        raise InputError(f"cannot read the method {text!r}; write e.g. LoRA(rank=8)")
    cls = catalogue().get(call.func.id)
    if cls is None:
        raise unknown("method", call.func.id, catalogue())
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if len(call.args) > len(fields):
        raise InputError(
            f"{cls.__name__} takes at most {len(fields)} settings: {', '.join(fields)}"
        )
    values = dict(zip(fields, map(_literal, call.args), strict=False))
    for keyword in call.keywords:
        if keyword.arg not in fields:
            raise unknown(f"setting of {cls.__name__}", str(keyword.arg), fields)
        values[keyword.arg] = _literal(keyword.value)
    return _build(cls, values)


def _literal(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except ValueError as error:
        raise InputError(
            f"{ast.unparse(node)!r} is no plain value (number, text, tuple)"
        ) from error
    return tuple(value) if isinstance(value, list) else value


def _build(cls: type[Method], values: dict[str, Any]) -> Method:
    try:
        return cls(**values)
    except TypeError as error:
        raise InputError(f"{cls.__name__}: {error}") from error
