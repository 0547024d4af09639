"""What a method of one's own is made of, as a hash: its source and what of its module it uses."""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Iterator
from typing import Any

_PLAIN = (int, float, str, bytes, bool, tuple, type(None))


def source_hash(cls: type) -> str:
    """Of the class, and of every function, class and plain value of its module that it uses.

    By source text where there is one (a file, a notebook), else by byte code (a bare prompt).
    """
    told: dict[str, str] = {}
    _tell(cls, cls.__module__, told)
    lines = "\n".join(f"{name}\n{text}" for name, text in sorted(told.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def _tell(thing: Any, module: str, told: dict[str, str]) -> None:
    name = thing.__qualname__
    if name in told:
        return
    told[name] = _text(thing)
    for base in getattr(thing, "__bases__", ()):
        if base.__module__ == module:
            _tell(base, module, told)
    for function in _functions(thing):
        for used in _names(function.__code__):
            value = function.__globals__.get(used)
            if isinstance(value, type | types.FunctionType):
                if value.__module__ == module:
                    _tell(value, module, told)
            elif used in function.__globals__ and isinstance(value, _PLAIN):
                told[used] = repr(value)


def _functions(thing: Any) -> Iterator[types.FunctionType]:
    """The functions that a class is written with, or the function itself."""
    if isinstance(thing, types.FunctionType):
        yield thing
        return
    for value in vars(thing).values():
        inner = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(inner, types.FunctionType):
            yield inner


def _names(code: types.CodeType) -> Iterator[str]:
    """Every name that code may look up outside, in functions within it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _text(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        parts = [f"{f.__qualname__} {_bytes(f.__code__)}" for f in _functions(thing)]
        fields = {k: v for k, v in vars(thing).items() if isinstance(v, _PLAIN) and k[:2] != "__"}
        return "\n".join([*parts, repr(fields)])


def _bytes(code: types.CodeType) -> str:
    constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    inner = [_bytes(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return f"{code.co_code.hex()} {code.co_names} {constants!r} {inner}"
