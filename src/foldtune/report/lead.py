"""The first words of a page: what to use, how sure, what it gains, what would settle it.

Read from the decision alone, as the verdict is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from foldtune.analysis.decision import IMAGES, Decision, Pair
from foldtune.analysis.row import Standing
from foldtune.console import percent
from foldtune.report.words import interval, join_names

# What a study has as its yardstick: the first that is there.
PROBES = ("LinearProbe", "AttentiveProbe")
_TINY = 0.002  # a difference that no test of a sensible size shows
_MANY = 20  # times the images or seeds that nobody gathers for such a difference


def lead(board: Sequence[Standing], decision: Decision | None) -> list[tuple[str, str]]:
    """Pairs of a few words and a sentence; none where no method is chosen."""
    best = next((entry for entry in board if entry["winner"]), None)
    if best is None:
        return []
    said = [("Use", _use(best))]
    judged = decision if decision is not None and best["label"] in decision.names else None
    if judged is None or not judged.pairs:
        return said
    said.append(("How sure", _sure(best["label"], judged)))
    gain = _gain(board, best, judged)
    return [*said, *gain, ("What would settle it", _settle(best["label"], judged))]


def _use(best: Standing) -> str:
    told = f"{best['method']}, chosen by validation ({percent(best['val_accuracy'])})"
    if best["test_accuracy"] is None:
        return f"{told}; its test has not finished."
    within = f" (95 % interval {interval(best)})" if best["low"] is not None else ""
    return f"{told}; it reaches {percent(best['test_accuracy'])} on the test images{within}."


def _sure(label: str, decision: Decision) -> str:
    able = [name for name in decision.names if decision.may_be_best(name)]
    what = "of these tunings" if decision.covers == IMAGES else "of the methods"
    if able == [label]:
        return f"Sure: no other {what} may be best on such images (95 %, all pairs together)."
    if label not in able:
        better = "is" if len(able) == 1 else "are"
        return f"Not the best: {join_names(able)} {better} better on the test images."
    others = sorted(
        (n for n in able if n != label), key=lambda n: -decision.accuracy[decision.at(n)]
    )
    return (
        f"Not sure: {join_names(others)} may be as good or better; the test images and seeds do "
        "not tell them apart."
    )


def _gain(board: Sequence[Standing], best: Standing, decision: Decision) -> list[tuple[str, str]]:
    """What the chosen gains over a plain classifier on frozen features."""
    probes = (e["label"] for name in PROBES for e in board if e["method"].startswith(name))
    probe = next(probes, None)
    if probe is None or probe not in decision.names:
        return []
    if probe == best["label"]:
        rival = _rival(probe, decision)
        told = f"The probe itself is chosen. Tuning by {rival.b} {_points(_swap(rival))}."
        return [("Gain over the probe", told)]
    pair = decision.between(best["label"], probe)
    return [("Gain over the probe", f"It {_points(pair)}.")]


def _points(pair: Pair) -> str:
    gap = f"{abs(100 * pair.difference):.1f} points"
    moved = f"gains {gap}" if pair.difference >= 0 else f"loses {gap}"
    if gap == "0.0 points":
        moved = "neither gains nor loses"
    return f"{moved} (95 %, all pairs together: {100 * pair.low:.1f} to {100 * pair.high:.1f})" + (
        "" if pair.apart else ", which may be chance"
    )


def _settle(label: str, decision: Decision) -> str:
    able = [name for name in decision.names if decision.may_be_best(name)]
    if able == [label]:
        return "Nothing more is needed to prefer it on such images."
    pair = _rival(label, decision)
    if pair.apart:
        return f"It is settled: {pair.b} is better. More validation images would have chosen it."
    if abs(pair.difference) < _TINY:
        return (
            f"Nothing soon: {label} and {pair.b} are {abs(100 * pair.difference):.1f} points "
            "apart. Take the one that is smaller or folds in."
        )
    times = ((pair.high - pair.low) / 2 / abs(pair.difference)) ** 2
    images, seeds = decision.images, max(decision.seeds)
    if pair.images_share >= 0.5:
        need = f"about {_round_up(images * times):,} test images in place of {images:,}"
    else:
        need = f"about {_round_up(seeds * times):,} seeds in place of {seeds}"
    if times > _MANY:
        return (
            f"Little: to tell it from {pair.b} would take {need}. Take the one that is smaller or "
            "folds in."
        )
    return f"To tell it from {pair.b}, if the difference stays as it is: {need}."


def _rival(label: str, decision: Decision) -> Pair:
    """The chosen against the most accurate of the others."""
    others = [name for name in decision.names if name != label]
    rival = max(others, key=lambda name: decision.accuracy[decision.at(name)])
    return decision.between(label, rival)


def _swap(pair: Pair) -> Pair:
    from dataclasses import replace

    return replace(pair, a=pair.b, b=pair.a, difference=-pair.difference, low=-pair.high,
                   high=-pair.low)  # fmt: skip


def _round_up(number: float) -> int:
    """Up, to two digits."""
    unit: int = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return math.ceil(number / unit) * unit
