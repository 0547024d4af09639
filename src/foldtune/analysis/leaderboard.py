"""Who is best, chosen on validation, and how sure the test figures are.

Nothing here selects on the test split: `winner` reads validation accuracy alone. The leaderboard
is sorted by test accuracy; how a method stands against the winner is `decision`'s to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from statistics import fmean

from foldtune.analysis.decision import IMAGES, SEEDS, Decision
from foldtune.analysis.intervals import row_intervals
from foldtune.analysis.row import Against, Row, Standing, Validated
from foldtune.analysis.selection import (
    best_after,
    configurations,
    in_order,
    rank_trials,
    spent_epochs,
)
from foldtune.tasks.metrics import DEFAULT
from foldtune.training.recipe import recipe_of


def leaderboard(
    rows: Iterable[Row], ties: str = "small", decision: Decision | None = None
) -> list[Standing]:
    """One entry a label, best test accuracy first, those without one last.

    An entry holds the configuration that won on validation (`method`, `recipe`, `run`), its
    last-epoch `val_accuracy`, beside it `val_best_accuracy` at `val_best_epoch` (from 1) and
    `val_start_accuracy` before training (`below_start`: it ended lower); `test_accuracy` (mean
    over `seeds` final runs of that very configuration), `low` and `high` at 95 %, and what the
    interval covers (`interval`: "images", "images and seeds" or None); `trainable`, `head`,
    `total`, `mergeable`; `seconds`, `diverged`, `failed` and the first `failure` over all runs of
    the label; its budget: `trials` (configurations tried), `epochs` (trained for them, rungs
    included) and `best_after`, the best validation accuracy after each number of trials; and
    `winner`. Where rows name a `metric`, all figures called accuracy are its scores, from 0 to 1.

    decision: of these very final runs; from it come the intervals, how the method stands `against`
    the winner ("chosen", "better", "worse" or "alike"; None where that is not known), whether it
    `may_be_best`, and the ranks `rank_low` and `rank_high` between which it lies. Without it the
    intervals are what rows alone can give, see `row_intervals`.
    """
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    tested = {label: chosen_runs(group, ties)[1] for label, group in by_label.items()}
    entries = [_entry(label, group, ties) for label, group in by_label.items()]
    _add_intervals(entries, [[r["test_accuracy"] for r in tested[e["label"]]] for e in entries])
    best = _best(entries)
    for entry in entries:
        entry["winner"] = entry is best
        if decision is not None and entry["label"] in decision.names:
            _judge(entry, best["label"] if best else None, decision)
    return sorted(
        entries,
        key=lambda e: (-_or(e["test_accuracy"], -1), -_or(e["val_accuracy"], -1), e["label"]),
    )


def winner(rows: Iterable[Row], ties: str = "small") -> Standing | None:
    """The leaderboard entry with the best validation accuracy; None where no trial finished.

    Ties go to fewer trainable parameters, then to the label that comes first in the alphabet.
    """
    return next((entry for entry in leaderboard(rows, ties) if entry["winner"]), None)


def chosen_trial(trials: Iterable[Row], ties: str = "small") -> Row | None:
    """The finished trial with the best last-epoch validation accuracy; ties as `selection` says."""
    found = in_order(trials)
    places = rank_trials(found, ties)
    return found[places[0]] if places else None


def is_finished(row: Row) -> bool:
    return row["verdict"] == "finished"


def is_diverged(row: Row) -> bool:
    return str(row["verdict"]).startswith("diverged")


def is_failed(row: Row) -> bool:
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
        and is_finished(row)
        and row.get("test_accuracy") is not None
    }
    return chosen, list(tested.values())


def _entry(label: str, rows: list[Row], ties: str) -> Standing:
    """What the rows of one label tell; how it stands beside others is not known yet."""
    rungs = [row for row in rows if row["stage"] == "rung"]
    trials = [row for row in rows if row["stage"] == "trial"]
    chosen, tested = chosen_runs(rows, ties)
    judged: Validated = chosen if chosen["stage"] == "trial" and is_finished(chosen) else {}
    accuracies = [row["test_accuracy"] for row in tested]
    return {
        "label": label,
        "run": chosen.get("run"),
        "method": chosen["method"],
        "recipe": chosen.get("recipe"),
        "trainable": chosen.get("trainable"),
        "head": chosen.get("head"),
        "total": chosen.get("total"),
        "mergeable": chosen.get("mergeable"),
        "val_accuracy": judged.get("val_accuracy"),
        "val_best_accuracy": judged.get("val_best_accuracy"),
        "val_best_epoch": judged.get("val_best_epoch"),
        "val_start_accuracy": judged.get("val_start_accuracy"),
        "below_start": judged.get("below_start"),
        "low": None,
        "high": None,
        "interval": None,
        "test_accuracy": fmean(accuracies) if accuracies else None,
        "test_images": tested[0].get("test_images") if tested else None,
        "seeds": len(accuracies),
        "seconds": sum(row.get("seconds") or 0.0 for row in rows),
        "trials": configurations(rungs + trials) if rungs else len(trials),
        "epochs": spent_epochs(rungs + trials),
        "best_after": best_after(trials),
        "diverged": sum(is_diverged(row) for row in rows),
        "failed": sum(is_failed(row) for row in rows),
        "failure": next((row["verdict"] for row in rows if is_failed(row)), None),
        "winner": False,
        "metric": chosen.get("metric") or DEFAULT,
        "against": None,
        "may_be_best": None,
        "rank_low": None,
        "rank_high": None,
    }


def _add_intervals(entries: list[Standing], runs: list[list[float]]) -> None:
    """What each run's accuracy tells, where the number of test images is known."""
    able = [i for i, entry in enumerate(entries) if (entry["test_images"] or 0) > 1]
    if not able:
        return
    several = any(len(runs[i]) > 1 for i in able)
    found = row_intervals([runs[i] for i in able], entries[able[0]]["test_images"] or 0)
    for i, (low, high) in zip(able, found, strict=True):
        entries[i]["low"], entries[i]["high"] = low, high
        entries[i]["interval"] = SEEDS if several else IMAGES


def _judge(entry: Standing, best: str | None, decision: Decision) -> None:
    """Add what the decision says of a method that it knows."""
    label = entry["label"]
    at = decision.at(label)
    entry["low"], entry["high"] = decision.low[at], decision.high[at]
    entry["interval"] = decision.covers
    entry["may_be_best"] = decision.may_be_best(label)
    entry["rank_low"], entry["rank_high"] = decision.best[at], decision.worst[at]
    if label == best:
        entry["against"] = "chosen"
    elif best in decision.names:
        pair = decision.between(label, str(best))
        better: Against = "better" if pair.difference > 0 else "worse"
        entry["against"] = better if pair.apart else "alike"


def by_validation(entry: Standing) -> tuple[float, int, str]:
    """What methods are sorted by to choose one: the best validation accuracy first, then fewer
    trainable parameters, then the label."""
    return -(entry["val_accuracy"] or 0.0), entry["trainable"] or 0, entry["label"]


def configuration(row: Row | Standing) -> tuple[str, str]:
    """What was tried: method and recipe. A row written before a field of the recipe existed was
    run with that field's default."""
    return row["method"], json.dumps(_DEFAULTS | (row.get("recipe") or {}), sort_keys=True)


_DEFAULTS = asdict(recipe_of({}))


def _best(entries: list[Standing]) -> Standing | None:
    able = [entry for entry in entries if entry["val_accuracy"] is not None]
    return min(able, key=by_validation, default=None)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
