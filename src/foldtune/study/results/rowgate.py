"""What a row must hold before a figure is computed from it.

Its checksum says that it is as it was written; who wrote it may be anybody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.analysis.row import Row
from foldtune.study.results.rowfile import ROWS

_NAME, _COUNT = gate.text(1000), gate.nullable(gate.integer(0, 1 << 50))
_SHARE, _NUMBER = gate.nullable(gate.number(0, 1)), gate.nullable(gate.number())
_RECIPE = gate.fields(
    {},
    {
        "lr": gate.number(0),
        "weight_decay": gate.number(0),
        "epochs": gate.integer(0, 10**6),
        "batch_size": gate.integer(1, 10**6),
    },
)
_POINT = gate.fields(
    {"epoch": gate.integer(0, 10**6)}, {"val_accuracy": _SHARE, "images_per_second": _NUMBER}
)


def _stage(value: Any) -> None:
    if value not in ("trial", "rung", "final", "fit"):
        raise gate.Unfit("trial, rung, final or fit", value)


def _hash(value: Any) -> None:
    if not isinstance(value, str) or not value.isalnum() or not value.isascii():
        raise gate.Unfit("letters and digits", value)


_COUNTED = {"run": _hash, "stage": _stage, "label": _NAME, "verdict": gate.text()}
_MORE = {
    "trial": _COUNT,
    "seconds": gate.nullable(gate.number(0)),
    "files": gate.mapping_of(gate.text(64), 100),
    "val_accuracy": _SHARE,
    "curve": gate.nullable(gate.list_of(_POINT, 10**6)),
}
_WHOLE = {"method": gate.text(2000), "trainable": _COUNT}
_FINAL = gate.fields({"seed": gate.integer(0, 1 << 64)})
_FIGURES = {
    "recipe": gate.nullable(_RECIPE),
    "seed": gate.integer(0, 1 << 64),
    "head": _COUNT,
    "total": _COUNT,
    "mergeable": gate.nullable(gate.flag),
    **dict.fromkeys(("val_best_accuracy", "val_start_accuracy", "test_accuracy"), _SHARE),
    **dict.fromkeys(("val_best_epoch", "test_images", "test_trained_on", "classes"), _COUNT),
    "val_loss": gate.nullable(gate.number(-math.inf, math.inf)),
    "below_start": gate.nullable(gate.flag),
    "test": gate.nullable(gate.mapping_of(gate.anything, 1000)),
    "probe": gate.nullable(gate.fields({"C": gate.number(0)})),
    "data_identity": gate.nullable(_NAME),
    "head_start": gate.nullable(gate.text(1 << 20)),
    **dict.fromkeys(("data", "backbone"), gate.nullable(gate.text())),
    "task": gate.text(1 << 20),
    "metric": _NAME,
    "pretrained": gate.nullable(gate.flag),
}
_COUNTABLE = gate.fields(_COUNTED, _MORE)
_FIELDS = gate.fields({**_COUNTED, **_WHOLE}, {**_MORE, **_FIGURES})


def _readable(value: Any) -> None:
    _FIELDS(value)
    if value["stage"] == "final":
        _FINAL(value)


def readable(rows: Iterable[Row], study: Path) -> list[Row]:
    """The rows. Raises InputError, naming run and field, for one that no run gave."""
    return [_check(row, study, _readable) for row in rows]


def countable(row: Row, study: Path) -> Row:
    """The row, of which no more is read than what was run, for how long, and how well."""
    return _check(row, study, _COUNTABLE)


def _check(row: Row, study: Path, check: gate.Check) -> Row:
    run = str(row.get("run"))[:40] if isinstance(row, dict) else "?"
    checked: Row = gate.check_value(row, check, f"{study / ROWS}, run {run}")
    return checked
