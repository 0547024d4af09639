"""The catalogue of methods, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foldtune.console import table, write

_COSTS = ("trainable", "merges", "operations", "activations")


def show_cards(rows: Sequence[dict[str, Any]], *, full: bool) -> None:
    """A table for each kind."""
    columns = ("method", "year", *_COSTS, "what", *(("settings", "source") if full else ()))
    write(
        "trainable: parameters on ViT-B/16 without the classifier; merges: on how many of the "
        "families of backbones; operations, activations kept: of a step there, LoRA's being 1."
    )
    for kind in dict.fromkeys(row["kind"] for row in rows):
        write("")
        table([_shown(row) for row in rows if row["kind"] == kind], columns, kind)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Multiples of LoRA's with as many digits as were counted."""
    return row | {
        name: None if row[name] is None else f"{row[name]:.2f}"
        for name in ("operations", "activations")
    }
