"""Who is best, chosen on validation, and how sure the test figures are.

Nothing here selects on the test split: `winner` reads validation accuracy alone. The leaderboard
is sorted by test accuracy and says for each method whether its interval overlaps the winner's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import NormalDist, fmean, stdev
from typing import Any

from foldtune.analysis.selection import (
    best_after,
    configurations,
    in_order,
    ordered,
    spent_epochs,
)
from foldtune.errors import InputError
from foldtune.training.recipe import Recipe

Row = dict[str, Any]


def wilson_interval(correct: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson, JASA 1927).

    Unlike p +- z sqrt(p (1 - p) / n) it stays within [0, 1] and is not empty at 0 or n correct.
    `correct` may be a mean over seeds.
    """
    if not 0 <= correct <= n or n == 0:
        raise InputError(f"an interval needs 0 <= correct <= n and n > 0, got {correct} of {n}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = correct / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / weight
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / weight
    # Rounding would put the bound a hair inside 0 or 1 where every answer is the same.
    low = 0.0 if correct == 0 else centre - half
    return low, 1.0 if correct == n else centre + half


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean: what other seeds would give on the same test images."""
    if len(values) < 2:
        raise InputError(f"an interval over seeds needs two or more values, got {len(values)}")
    half = _student(level, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def image_and_seed_interval(
    values: Sequence[float], images: int, level: float = 0.95
) -> tuple[float, float]:
    """The interval of a mean accuracy for other seeds *and* other test images.

    Half-width t sqrt(a + b): b is the variance of the mean over seeds, a that of a share of
    `images` (from Wilson's bound, so each side has its own); t has the degrees of freedom of
    Welch and Satterthwaite, (a + b)^2 / (b^2 / (seeds - 1)). Cautious: part of the spread
    between seeds is counted in a as well. With one seed it is Wilson's interval.
    """
    mean = fmean(values)
    low, high = wilson_interval(mean * images, images, level)
    if len(values) < 2:
        return low, high
    z = NormalDist().inv_cdf((1 + level) / 2)
    seeds = stdev(values) ** 2 / len(values)

    def half(image_half: float) -> float:
        both = (max(image_half, 0.0) / z) ** 2 + seeds
        if seeds <= 1e-12 * both:
            return z * math.sqrt(both)
        freedom = both * both / (seeds * seeds / (len(values) - 1))
        return _student(level, freedom) * math.sqrt(both)

    return max(0.0, mean - half(mean - low)), min(1.0, mean + half(high - mean))


def leaderboard(rows: Iterable[Row], ties: str = "small") -> list[Row]:
    """One entry a label, best test accuracy first, those without one last.

    An entry holds the configuration that won on validation (`method`, `recipe`, `run`), its
    last-epoch `val_accuracy`, beside it `val_best_accuracy` at `val_best_epoch` (from 1) and
    `val_start_accuracy` before training (`below_start`: it ended lower); `test_accuracy` (mean
    over `seeds` final runs of that very configuration), `low` and `high` at 95 %, and what the
    interval covers (`interval`: "images", "images and seeds", "seeds" or None); `trainable`,
    `head`, `total`, `mergeable`; `seconds` and `diverged` over all runs of the label; its budget:
    `trials` (configurations tried), `epochs` (trained for them, rungs included) and `best_after`,
    the best validation accuracy after each number of trials; `winner`; and `indistinguishable`:
    whether its interval overlaps the winner's (None where either has none).
    """
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    entries = [_entry(label, group, ties) for label, group in by_label.items()]
    best = _best(entries)
    for entry in entries:
        entry["winner"] = entry is best
        entry["indistinguishable"] = _overlap(entry, best)
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


def chosen_runs(rows: list[Row], ties: str = "small") -> tuple[Row, list[Row]]:
    """Of one label's rows the chosen trial (of a study without tuning, the first final run), and
    the tested final runs of its configuration, one a seed."""
    finals = [row for row in rows if row["stage"] == "final"]
    trials = [row for row in rows if row["stage"] == "trial"]
    rungs = [row for row in rows if row["stage"] == "rung"]
    chosen = chosen_trial(trials, ties) or next(iter(finals or trials or rungs))
    return chosen, [
        row
        for row in finals
        if configuration(row) == configuration(chosen)
        and finished(row)
        and row.get("test_accuracy") is not None
    ]


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
    }


_COPIED = ("run", "method", "recipe", "trainable", "head", "total", "mergeable")
_VALIDATION = (
    *("val_accuracy", "val_best_accuracy", "val_best_epoch"),
    *("val_start_accuracy", "below_start"),
)


def _tested(finals: list[Row]) -> Row:
    """Mean test accuracy and its interval, from the final runs of one configuration."""
    if not finals:
        nothing: Row = dict.fromkeys(("test_accuracy", "low", "high", "interval", "test_images"))
        return {**nothing, "seeds": 0}
    values = [row["test_accuracy"] for row in finals]
    images = finals[0].get("test_images")
    low: float | None = None
    high: float | None = None
    covers: str | None = None
    if images:
        low, high = image_and_seed_interval(values, images)
        covers = "images and seeds" if len(values) > 1 else "images"
    elif len(values) > 1:
        low, high = mean_interval(values)
        covers = "seeds"
    return {
        "test_accuracy": fmean(values),
        "low": low,
        "high": high,
        "interval": covers,
        "test_images": images,
        "seeds": len(values),
    }


def configuration(row: Row) -> tuple[str, str]:
    """What was tried: method and recipe. A row written before a field of the recipe existed was
    run with that field's default."""
    return row["method"], json.dumps(_DEFAULTS | (row.get("recipe") or {}), sort_keys=True)


_DEFAULTS = asdict(Recipe())


def _best(entries: list[Row]) -> Row | None:
    able = [entry for entry in entries if entry["val_accuracy"] is not None]
    return min(able, key=lambda e: (-e["val_accuracy"], e["trainable"], e["label"]), default=None)


def _overlap(entry: Row, best: Row | None) -> bool | None:
    if best is None or entry["low"] is None or best["low"] is None:
        return None
    return entry["low"] <= best["high"] and best["low"] <= entry["high"]


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _student(level: float, freedom: float) -> float:
    from scipy.special import stdtrit  # scipy.stats would cost half a second more to import

    return float(stdtrit(freedom, (1 + level) / 2))
