"""What the header of a tuning file may say, checked before anything is made of it.

A tuning may be a stranger's: every field that is read later has a type and a bound here.
"""

from __future__ import annotations

from typing import Any

from foldtune import gate
from foldtune.errors import InputError

# 2 keeps where the classifier started, 3 which pictures training saw, 4 a hash of the whole file.
FORMAT = SEALED = 4
CLASSES = 1 << 20  # more than any classifier has
SIDE = 4096  # pixels
_NAME = gate.text(1000)

_TRANSFORM = gate.fields(
    {"size": gate.either(gate.list_of(gate.integer(1, SIDE), 2), gate.integer(1, SIDE))},
    {
        "mean": gate.list_of(gate.number(), 64),
        "std": gate.list_of(gate.number(), 64),
        "interpolation": _NAME,
        "resize": _NAME,
    },
)
# One's own loop may save less of a backbone, and then gives it to `load`.
_BACKBONE = gate.fields({}, {"name": _NAME, "weights": _NAME, "transform": _TRANSFORM})
_OWN = {
    "format": gate.integer(1, FORMAT),
    "foldtune": _NAME,
    "method": gate.text(2000),
    "head": gate.list_of(_NAME, 64),
    "num_classes": gate.integer(1, CLASSES),
    "base_keys": gate.mapping_of(gate.list_of(gate.integer(0, 1 << 40), 16), 1 << 17),
    "base_hash": _NAME,
}
_FACTS = {
    "backbone": gate.nullable(_BACKBONE),
    "classes": gate.list_of(gate.text(), CLASSES),
    "data": gate.fields(
        {}, {name: gate.nullable(gate.text()) for name in ("name", "identity", "source", "content")}
    ),
    "task": gate.text(20_000),
    "training": gate.fields({}, {"train_on": gate.list_of(_NAME, 16)}),
}
OWN_FIELDS = tuple(_OWN)
_HEADER = gate.fields(_OWN, _FACTS)


def checked_header(text: str, place: str) -> dict[str, Any]:
    """The header of a tuning. Raises InputError, naming the field, for one that no tuning has, and
    for one of a later foldtune."""
    header = gate.parse(text, f"the damaged header of {place}")
    newer = header.get("format") if isinstance(header, dict) else None
    if type(newer) is int and newer > FORMAT:
        raise InputError(
            f"{place} has tuning format {newer}; this foldtune reads up to {FORMAT}. "
            f"Install foldtune {str(header.get('foldtune', ''))[:40]} or later"
        )
    return check_header(header, place)


def check_header(header: Any, place: str) -> dict[str, Any]:
    """The header as it is. Raises InputError as `checked_header` does."""
    found: dict[str, Any] = gate.check_value(header, _HEADER, f"{place} has a damaged header")
    found.pop("hash", None)  # of the file, not of the tuning
    return found
