"""Who is best, chosen on validation, and how sure the test figures are.

Nothing here selects on the test split: `winner` reads validation accuracy alone. The leaderboard
is sorted by test accuracy; how a method stands against the winner is `decision`'s to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from statistics import fmean
from typing import Any

from foldtune.analysis.decision import IMAGES, SEEDS, Decision, row_intervals
from foldtune.analysis.selection import (
    best_after,
    configurations,
    in_order,
    ordered,
    spent_epochs,
)
from foldtune.training.recipe import Recipe

Row = dict[str, Any]


def leaderboard(
    rows: Iterable[Row], ties: str = "small", decision: Decision | None = None
) -> list[Row]:
    """One entry a label, best test accuracy first, those without one last.

    An entry holds the configuration that won on validation (`method`, `recipe`, `run`), its
    last-epoch `val_accuracy`, beside it `val_best_accuracy` at `val_best_epoch` (from 1) and
    `val_start_accuracy` before training (`below_start`: it ended lower); `test_accuracy` (mean
    over `seeds` final runs of that very configuration), `low` and `high` at 95 %, and what the
    interval covers (`interval`: "images", "images and seeds" or None); `trainable`, `head`,
    `total`, `mergeable`; `seconds`, `diverged`, `failed` and the first `failure` over all runs of
    the label; its budget: `trials` (configurations tried), `epochs` (trained for them, rungs
    included) and `best_after`, the best validation accuracy after each number of trials; and
    `winner`.

    decision: of these very final runs; from it come the intervals, how the method stands `against`
    the winner ("chosen", "better", "worse" or "alike"; None where that is not known), whether it
    `may_be_best`, and the ranks `rank_low` and `rank_high` between which it lies. Without it the
    intervals are what rows alone can give, see `row_intervals`.
    """
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    entries = [_entry(label, group, ties) for label, group in by_label.items()]
    _add_intervals(entries)
    best = _best(entries)
    for entry in entries:
        entry["winner"] = entry is best
        entry |= dict.fromkeys(("against", "may_be_best", "rank_low", "rank_high"))
        if decision is not None and entry["label"] in decision.names:
            entry |= _judged(entry["label"], best["label"] if best else None, decision)
    return sorted(
        entries,
        key=lambda e: (-_or(e["test_accuracy"], -1), -_or(e["val_accuracy"], -1), e["label"]),
    )


def winner(rows: Iterable[Row], ties: str = "small") -> Row | None:
    """The leaderboard entry with the best validation accuracy; None where no trial finished.

    Ties go to fewer trainable parameters, then to the label that comes first in the alphabet.
    """
    return next((entry for entry in leaderboard(rows, ties) if entry["winner"]), None)


def chosen_trial(trials: Iterable[Row], ties: str = "small") -> Row | None:
    """The finished trial with the best last-epoch validation accuracy; ties as `selection` says."""
    found = in_order(trials)
    places = ordered(found, ties)
    return found[places[0]] if places else None


def finished(row: Row) -> bool:
    return row["verdict"] == "finished"


def diverged(row: Row) -> bool:
    return str(row["verdict"]).startswith("diverged")


def failed(row: Row) -> bool:
    return str(row["verdict"]).startswith("failed")


def chosen_runs(rows: list[Row], ties: str = "small") -> tuple[Row, list[Row]]:
    """Of one label's rows the chosen trial (of a study without tuning, the first final run), and
    the tested final runs of its configuration, one a seed: the last that was stored."""
    finals = [row for row in rows if row["stage"] == "final"]
    trials = [row for row in rows if row["stage"] == "trial"]
    rungs = [row for row in rows if row["stage"] == "rung"]
    chosen = chosen_trial(trials, ties) or next(iter(finals or trials or rungs))
    tested = {
        row.get("seed", place): row
        for place, row in enumerate(finals)
        if configuration(row) == configuration(chosen)
        and finished(row)
        and row.get("test_accuracy") is not None
    }
    return chosen, list(tested.values())


def _entry(label: str, rows: list[Row], ties: str) -> Row:
    rungs = [row for row in rows if row["stage"] == "rung"]
    trials = [row for row in rows if row["stage"] == "trial"]
    chosen, tested = chosen_runs(rows, ties)
    validated = chosen["stage"] == "trial" and finished(chosen)
    return {
        "label": label,
        **{key: chosen.get(key) for key in _COPIED},
        **{key: chosen.get(key) if validated else None for key in _VALIDATION},
        **_tested(tested),
        "seconds": sum(row.get("seconds") or 0.0 for row in rows),
        "trials": configurations(rungs + trials) if rungs else len(trials),
        "epochs": spent_epochs(rungs + trials),
        "best_after": best_after(trials),
        "diverged": sum(diverged(row) for row in rows),
        "failed": sum(failed(row) for row in rows),
        "failure": next((row["verdict"] for row in rows if failed(row)), None),
    }


_COPIED = ("run", "method", "recipe", "trainable", "head", "total", "mergeable")
_VALIDATION = (
    *("val_accuracy", "val_best_accuracy", "val_best_epoch"),
    *("val_start_accuracy", "below_start"),
)


def _tested(finals: list[Row]) -> Row:
    """Mean test accuracy of the final runs of one configuration."""
    nothing: Row = dict.fromkeys(("low", "high", "interval"))
    values = [row["test_accuracy"] for row in finals]
    return nothing | {
        "test_accuracy": fmean(values) if values else None,
        "test_images": finals[0].get("test_images") if finals else None,
        "seeds": len(values),
        "runs": values,
    }


def _add_intervals(entries: list[Row]) -> None:
    """What each run's accuracy tells, where the number of test images is known."""
    runs = [entry.pop("runs") for entry in entries]
    able = [i for i, entry in enumerate(entries) if (entry["test_images"] or 0) > 1]
    if not able:
        return
    several = any(len(runs[i]) > 1 for i in able)
    found = row_intervals([runs[i] for i in able], entries[able[0]]["test_images"])
    for i, (low, high) in zip(able, found, strict=True):
        entries[i] |= {"low": low, "high": high, "interval": SEEDS if several else IMAGES}


def _judged(label: str, best: str | None, decision: Decision) -> Row:
    at = decision.at(label)
    against = "chosen" if label == best else None
    if against is None and best in decision.names:
        pair = decision.between(label, str(best))
        against = ("better" if pair.difference > 0 else "worse") if pair.apart else "alike"
    return {
        "low": decision.low[at],
        "high": decision.high[at],
        "interval": decision.covers,
        "against": against,
        "may_be_best": decision.may_be_best(label),
        "rank_low": decision.best[at],
        "rank_high": decision.worst[at],
    }


def configuration(row: Row) -> tuple[str, str]:
    """What was tried: method and recipe. A row written before a field of the recipe existed was
    run with that field's default."""
    return row["method"], json.dumps(_DEFAULTS | (row.get("recipe") or {}), sort_keys=True)


_DEFAULTS = asdict(Recipe())


def _best(entries: list[Row]) -> Row | None:
    able = [entry for entry in entries if entry["val_accuracy"] is not None]
    return min(able, key=lambda e: (-e["val_accuracy"], e["trainable"], e["label"]), default=None)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
