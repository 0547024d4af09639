"""The one gate for JSON that somebody else may have written: bounded, typed, refused by field.

`parse` bounds what is read before anything is made of it, `check_value` says what it must be: a
check is a function of a value that raises `Unfit`, built from those below.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foldtune.errors import InputError

SEEDS = 2**32  # as many as every library below takes
LARGEST = 64 << 20  # bytes of one text
DEEPEST = 64  # lists and objects inside one another
_SHOWN = 40  # characters of a refused value

Check = Callable[[Any], object]


class Unfit(Exception):
    """A value that is not what it must be, and in which field, from the innermost out."""

    def __init__(self, wanted: str, value: Any, *path: str) -> None:
        super().__init__(wanted)
        self.wanted, self.value, self.path = wanted, value, path

    def inside(self, name: object) -> Unfit:
        """The same, told from one level further out."""
        step = f"[{name}]" if isinstance(name, int) else str(name)[:_SHOWN]
        return Unfit(self.wanted, self.value, step, *self.path)


def parse(text: str | bytes, place: object, *, largest: int = LARGEST) -> Any:
    """The value of a JSON text. Raises InputError, naming `place`, for one that is too long or too
    deep, that is no JSON, or that has numbers which are not finite."""
    if len(text) > largest:
        raise InputError(f"{place} has {len(text):,} bytes; {largest:,} are read at most")
    try:
        found = json.loads(text, parse_constant=_not_finite)
    except RecursionError:
        raise InputError(f"{place} nests deeper than {DEEPEST} levels") from None
    except ValueError as error:
        raise InputError(f"{place} is not JSON ({str(error)[:200]})") from None
    _refuse_deep(found, place)
    return found


def parse_file(path: Path, *, largest: int = LARGEST) -> Any:
    """The value of a JSON file; its size is looked at before it is read. Raises InputError as
    `parse` does, and OSError."""
    size = path.stat().st_size
    if size > largest:
        raise InputError(f"{path} has {size:,} bytes; {largest:,} are read at most")
    return parse(path.read_bytes(), path, largest=largest)


def check_value(value: Any, check: Check, place: object) -> Any:
    """The value. Raises InputError, naming place and field, where it is not what it must be."""
    try:
        check(value)
    except Unfit as error:
        field = ".".join(error.path).replace(".[", "[")
        where = f"{place}: {field or 'it'}"
        raise InputError(
            f"{where} must be {error.wanted}, not {_short(error.value)}; it is damaged, or "
            "foldtune did not write it"
        ) from None
    return value


def check_seed(seed: int) -> int:
    """The seed. Raises InputError for one that a library below would refuse."""
    if type(seed) is not int or not 0 <= seed < SEEDS:
        raise InputError(f"a seed is a whole number from 0 to {SEEDS - 1}, not {_short(seed)}")
    return seed


# -- checks ----------------------------------------------------------------------------------------


def text(most: int = 10_000) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise Unfit(f"a text of at most {most:,} characters", value)

    return check


def integer(low: int, high: int) -> Check:
    def check(value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise Unfit(f"a whole number from {low:,} to {high:,}", value)

    return check


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    def check(value: Any) -> None:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        # Larger whole numbers have no float, and no arithmetic below takes them.
        if not plain or abs(value) > 1e308 or not low <= value <= high:
            raise Unfit(f"a finite number from {low:g} to {high:g}", value)

    return check


def flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise Unfit("true or false", value)


def anything(_value: Any) -> None:
    return None


def nullable(inner: Check) -> Check:
    def check(value: Any) -> None:
        if value is not None:
            inner(value)

    return check


def either(*inner: Check) -> Check:
    """Any of several; the last says what is wrong."""

    def check(value: Any) -> None:
        for one in inner[:-1]:
            try:
                one(value)
                return
            except Unfit:
                continue
        inner[-1](value)

    return check


def list_of(inner: Check, most: int = 1 << 20) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, list) or len(value) > most:
            raise Unfit(f"a list of at most {most:,} entries", value)
        for place, entry in enumerate(value):
            try:
                inner(entry)
            except Unfit as error:
                raise error.inside(place) from None

    return check


def mapping_of(inner: Check, most: int = 1 << 20) -> Check:
    """An object whose values are all alike."""

    def check(value: Any) -> None:
        if not isinstance(value, dict) or len(value) > most:
            raise Unfit(f"an object of at most {most:,} entries", value)
        for name, entry in value.items():
            try:
                inner(entry)
            except Unfit as error:
                raise error.inside(name) from None

    return check


def fields(needed: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these fields, the optional ones where they are there; others are let be."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise Unfit("an object", value)
        for name, inner in (*needed.items(), *(optional or {}).items()):
            if name not in value and name not in needed:
                continue
            if name not in value:
                raise Unfit(f"an object with the field {name!r}", value)
            try:
                inner(value[name])
            except Unfit as error:
                raise error.inside(name) from None

    return check


# -- private ---------------------------------------------------------------------------------------


def _not_finite(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _refuse_deep(value: Any, place: object) -> None:
    level, depth = [value], 0
    while inner := [part for part in level if isinstance(part, dict | list)]:
        if depth == DEEPEST:
            raise InputError(f"{place} nests deeper than {DEEPEST} levels")
        level = [e for part in inner for e in (part.values() if isinstance(part, dict) else part)]
        depth += 1


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)} entries"
    said = ascii(value) if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."
