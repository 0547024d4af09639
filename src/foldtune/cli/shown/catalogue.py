"""The catalogue of methods, and what of it suits a host, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foldtune.console import table, write
from foldtune.errors import some

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
        table([_round_multiples(row) for row in rows if row["kind"] == kind], columns, kind)


def show_candidates(told: dict[str, Any]) -> None:
    """What stands within the budget, and why other methods are not there."""
    rows = [
        _round_multiples(row) | {"share": f"{100 * row['share']:.2g} %"}
        for row in told["suggestions"]
    ]
    write(
        f"{len(rows)} methods stand on {told['model']} with at most {told['budget']:,} trainable "
        f"parameters of its {told['parameters']:,} (classifier aside). Order: {told['rule']}."
    )
    if rows:
        write("")
        table(rows, ("method", "trainable", "share", *_COSTS[1:], "points_below_best"))
    for title, names in (("more parameters", told["over_budget"]), ("refused", told["refused"])):
        if names:
            write(f"{title}: {some(names, '--json')}")
    write("Settings and sources: foldtune methods --full; the reason of a refusal: --json.")


def _round_multiples(row: dict[str, Any]) -> dict[str, Any]:
    """Multiples of LoRA's with as many digits as were counted."""
    return row | {
        name: None if row[name] is None else f"{row[name]:.2f}"
        for name in ("operations", "activations")
    }
