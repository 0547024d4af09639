"""All known methods, by name, and the parsing of `SSF() + LoRA(rank=8)` without `eval`."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import logging
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from foldtune.core.method import Method, Stack, check_settings
from foldtune.errors import InputError, unknown_name
from foldtune.methods.source import source_hash

# A third party's package names its Method classes under this entry point group.
_GROUP = "foldtune.methods"
# Characters. Longer text can nest deeper than Python's own parser bears.
_LONGEST = 2000
_MOST = 16  # methods in a sum

log = logging.getLogger("foldtune")


# Method classes of one's own, by name, as `register` took them in.
_registered: dict[str, type[Method]] = {}


def catalogue() -> dict[str, type[Method]]:
    """Every known method class by name: our own, those of installed plug-ins, and what was
    registered in this process."""
    return _find_installed() | _registered


def register(cls: type[Method]) -> type[Method]:
    """Make a method of one's own known by its name in this process: to `parse`, and so to loading
    and to every verb. `fit`, `compare` and `check_method` do so with what they are given.

    Returns the class, so that it can stand above it as a decorator. One that was registered before
    under the name is replaced, as a notebook defines a class again. Raises InputError for a class
    that no search could begin with, and for a name that a method of the package or a plug-in has.
    """
    reason = _unfit(cls)
    if reason:
        raise InputError(f"cannot register {getattr(cls, '__name__', cls)!r}: {reason}")
    first = _find_installed().get(cls.__name__)
    if first is not None and first is not cls:
        raise InputError(
            f"cannot register {cls.__name__}: there is a method {cls.__name__} "
            f"({first.__module__}); give the class another name"
        )
    if first is None:
        _registered[cls.__name__] = cls
    return cls


def is_registered(cls: type[Method]) -> bool:
    """Whether the class is known in this process alone, where its name says not what it is."""
    return _registered.get(cls.__name__) is cls


def sources(method: Method) -> dict[str, str]:
    """For each part that only this process knows, its name and the hash of its source."""
    classes = [type(part) for part in method.parts]
    return {cls.__name__: source_hash(cls) for cls in classes if is_registered(cls)}


def text_of(method: str | Method | type[Method]) -> str:
    """The text of a method, given as one: `LoRA(rank=4)` for an instance, whose settings it keeps,
    and the bare name for a class. Registers classes that are not known yet."""
    if isinstance(method, str):
        return method
    if isinstance(method, type):
        return register(method).__name__
    if not isinstance(method, Method):
        raise InputError(f"{method!r} is no method; give its text, the class, or an instance of it")
    for part in method.parts:
        register(type(part))
    return repr(method)


@functools.cache
def _find_installed() -> dict[str, type[Method]]:
    own = vars(importlib.import_module("foldtune.methods")).values()
    known = {
        cls.__name__: cls
        for cls in own
        if isinstance(cls, type) and issubclass(cls, Method) and cls not in (Method, Stack)
    }
    for point in entry_points(group=_GROUP):
        cls = _load(point)
        if cls is not None and (first := known.setdefault(cls.__name__, cls)) is not cls:
            _leave_out(point, f"there is a method {cls.__name__} ({first.__module__})")
    return known


def _load(point: EntryPoint) -> type[Method] | None:
    """The class of a plug-in; a broken one is named and left out, lest it take all with it."""
    try:
        cls = point.load()
    except (Exception, SystemExit) as error:
        _leave_out(point, f"{type(error).__name__}: {error}")
        return None
    reason = _unfit(cls)
    if reason:
        _leave_out(point, reason)
        return None
    found: type[Method] = cls
    return found


def _unfit(cls: Any) -> str:
    """Why a class is no method; empty for one that is."""
    if not (isinstance(cls, type) and issubclass(cls, Method) and dataclasses.is_dataclass(cls)):
        return "it is no dataclass of Method"
    try:
        cls()
    except Exception as error:  # lists and searches begin at the defaults
        return f"{cls.__name__}() cannot be built: {type(error).__name__}: {error}"
    return ""


def _leave_out(point: EntryPoint, reason: str) -> None:
    log.warning("plug-in %s left out: %s", point.value, " ".join(reason.split()))


def parse(text: str) -> Method:
    """The method that `text` spells, such as `LoRA(rank=8)`, `SSF` or `SSF() + LoRA(rank=4)`.

    Only literals are read; nothing is evaluated. Raises InputError for anything else, naming the
    known methods or fields, nearest first.

    >>> parse("SSF + LoRA(rank=4)")
    SSF() + LoRA(rank=4)
    """
    if len(text) > _LONGEST:
        raise InputError(f"a method of {len(text)} characters is none; write e.g. LoRA(rank=8)")
    try:
        nodes = _summands(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise InputError(f"cannot read the method {text!r}; write e.g. LoRA(rank=8)") from error
    if len(nodes) > _MOST:
        raise InputError(f"a sum of {len(nodes)} methods is none; {_MOST} at most stand together")
    parts = [_part(node, text) for node in nodes]
    return parts[0] if len(parts) == 1 else Stack(tuple(parts))


def _summands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_summands(node.left), *_summands(node.right)]
    return [node]


def _part(node: ast.expr, text: str) -> Method:
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name):
        raise InputError(f"cannot read the method {text!r}; write e.g. LoRA(rank=8)")
    if call.func.id == "Peft":
        return _by_peft_name(call, text)
    cls = catalogue().get(call.func.id)
    if cls is None:
        raise unknown_name("method", call.func.id, catalogue())
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if not fields and (call.args or call.keywords):
        raise InputError(f"{cls.__name__} has no settings; write {cls.__name__}()")
    if len(call.args) > len(fields):
        raise InputError(
            f"{cls.__name__} takes at most {len(fields)} settings: {', '.join(fields)}"
        )
    values = dict(zip(fields, (_literal(node, text) for node in call.args), strict=False))
    for keyword in call.keywords:
        if keyword.arg not in fields:
            raise unknown_name(f"setting of {cls.__name__}", keyword.arg or "**", fields)
        if keyword.arg in values:
            raise InputError(f"{cls.__name__}: {keyword.arg} is given twice")
        values[keyword.arg] = _literal(keyword.value, text)
    return _build(cls, values)


def _by_peft_name(call: ast.Call, text: str) -> Method:
    """`Peft('vera', r=64)`, which is VeRA(rank=64)."""
    words = [_literal(node, text) for node in call.args]
    options = {str(k.arg): _literal(k.value, text) for k in call.keywords}
    if len(words) != 1 or not isinstance(words[0], str) or "None" in options:
        raise InputError(f"cannot read the method {text!r}; write e.g. Peft('vera', r=64)")
    found: Method = importlib.import_module("foldtune.methods").Peft(words[0], **options)
    return found


def _literal(node: ast.expr, text: str) -> Any:
    written = ast.get_source_segment(text.strip(), node)
    try:
        return _freeze(ast.literal_eval(node))
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise InputError(f"{written!r} is no plain value (number, text, tuple)") from error


def _freeze(value: Any) -> Any:
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


def _build(cls: type[Method], values: dict[str, Any]) -> Method:
    check_settings(cls, values)
    try:
        return cls(**values)
    except TypeError as error:  # a setting without a default is missing
        raise InputError(f"{cls.__name__}: {error}") from error
