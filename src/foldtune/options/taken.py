"""Verbs in Python take the options of the command line as arguments of the same name."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from foldtune.errors import unknown_name
from foldtune.options import groups

P = ParamSpec("P")
Found = TypeVar("Found")
Group = TypeVar("Group")


def takes(*taken: type) -> Callable[[Callable[P, Found]], Callable[P, Found]]:
    """Decorates a verb whose `**options` are the fields of these groups.

    Its signature and its documentation name each of them; another name raises InputError, the
    nearest first.
    """

    def with_options(verb: Callable[P, Found]) -> Callable[P, Found]:
        plain = inspect.signature(verb)
        own = [p for p in plain.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = {p.name for p in own}
        more = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default,
                              annotation=f.type)
            for group in taken for f in fields(group) if f.name not in known
        ]  # fmt: skip

        @wraps(verb)
        def call_checked(*args: P.args, **kwargs: P.kwargs) -> Found:
            names = [*(p.name for p in own), *(p.name for p in more)]
            for name in kwargs:
                if name not in names:
                    raise unknown_name(f"argument of {verb.__name__}", name, names)
            return verb(*args, **kwargs)

        call_checked.__signature__ = plain.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        call_checked.__doc__ = f"{inspect.getdoc(verb)}\n\n{_describe(taken, known)}"
        return call_checked

    return with_options


def of(group: type[Group], options: Mapping[str, Any]) -> Group:
    """The group with those of the options that are its fields."""
    names = {f.name for f in fields(group)}  # type: ignore[arg-type]
    return group(**{name: value for name, value in options.items() if name in names})


def non_defaults(*given: Any) -> dict[str, Any]:
    """The fields of these groups that are not as by default.

    >>> non_defaults(groups.TrainOptions(epochs=3), groups.DataOptions(shots=10))
    {'epochs': 3, 'shots': 10}
    """
    return {
        f.name: value
        for one in given
        for f in fields(one)
        if (value := getattr(one, f.name)) != f.default
    }


@cache
def words() -> dict[str, dict[str, str]]:
    """What every field of every group is, in words, by the group's name."""
    tree = ast.parse(Path(groups.__file__).read_text(encoding="utf-8"))
    return {node.name: dict(_fields(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            yield field.target.id, " ".join(ast.literal_eval(text.value).split())


def _describe(taken: tuple[type, ...], known: set[str]) -> str:
    lines = []
    for group in taken:
        told = words()[group.__name__]
        lines.append(f"{inspect.getdoc(group)}")
        for f in fields(group):
            if f.name not in known:
                default = "" if f.default in (None, MISSING) else f" Default: {f.default!r}."
                text = f"{f.name}: {told[f.name]}{default}"
                lines += textwrap.wrap(text, 96, initial_indent="  ", subsequent_indent="    ")
        lines.append("")
    return "\n".join(lines)
