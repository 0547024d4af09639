"""The judgement in sentences: every one is read from the decision, none judges for itself.

Of methods it is said that one is better only over new training seeds; with one seed each, only of
these tunings on such images.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from statistics import median

from foldtune.analysis.decision import IMAGES, SEARCHES, Decision, Pair
from foldtune.analysis.leaderboard import by_validation
from foldtune.analysis.row import Standing
from foldtune.report.words import count, interval, join_names, percent

_OVER = {
    "images": "new images",
    "images and seeds": "new images and new training seeds",
    "images, seeds and searches": "new images, new training seeds and new searches",
}


def verdict(
    board: Sequence[Standing], decision: Decision | None, validation: int | None = None
) -> list[str]:
    """Who is chosen and by how much, its test accuracy, and which methods may be best.

    validation: the number of validation images, where it is known.
    """
    best = next((entry for entry in board if entry["winner"]), None)
    if best is None:
        return ["No trial has finished with a validation accuracy, so no method is chosen."]
    said = [
        f"{best['label']} is chosen: with {best['method']} it has the best validation accuracy, "
        f"{percent(best['val_accuracy'])}.",
        *_margin(board, best, validation),
    ]
    if best["test_accuracy"] is None:
        return [*said, "Its final run on the test split has not finished yet."]
    images = f"the {best['test_images']:,} test images" if best["test_images"] else "the test split"
    over = f", over {_OVER[best['interval']]}" if best["interval"] else ""
    said.append(
        f"On {images} it reaches {percent(best['test_accuracy'])}"
        + (f" (95 % interval {interval(best)}{over})." if best["low"] is not None else ".")
    )
    return said if decision is None else [*said, *judgement(board, decision, best)]


def judgement(board: Sequence[Standing], decision: Decision, best: Standing) -> list[str]:
    """Which methods may be best, who is told apart from the chosen, and what could not show."""
    if not decision.pairs:
        return []
    one_seed = decision.covers == IMAGES
    said = [
        best_of(decision),
        *_relations([entry for entry in board if entry["against"] is not None], best, one_seed),
        resolution(decision),
    ]
    if one_seed:
        said.append(
            "Each method has one final run, so this is said of these tunings on such images; "
            "whether one method is better than another cannot be told from one seed. Use --seeds 3."
        )
    return said


def best_of(decision: Decision) -> str:
    """The methods to which no other is distinguishably better."""
    able = [name for name in decision.names if decision.may_be_best(name)]
    able.sort(key=lambda name: -decision.accuracy[decision.at(name)])
    what = " of these tunings" if decision.covers == IMAGES else ""
    if len(able) == len(decision.names) and len(able) > 2:
        return f"Any of the {len(able)} methods may be best{what} (95 %)."
    if len(able) == 1:
        return f"{able[0]} is the best{what} (95 %)."
    return f"{join_names(able)} may be best{what} (95 %)."


def over_searches(decision: Decision) -> list[str]:
    """What repeated searches tell of methods: no one of their choices, all of them."""
    ordered = sorted(decision.pairs, key=lambda pair: pair.p)
    apart = [pair_sentence(decision, pair) for pair in ordered if pair.apart]
    return [best_of(decision), count_apart(decision), resolution(decision), *apart]


def pair_sentence(decision: Decision, pair: Pair) -> str:
    """What is known of two methods."""
    if pair.difference < 0:
        pair = decision.between(pair.b, pair.a)
    a, b, gap = pair.a, pair.b, 100 * pair.difference
    low, high = f"{100 * pair.low:.1f}", f"{100 * pair.high:.1f}"
    of = "95 %, all pairs together"
    if decision.covers != IMAGES and pair.apart:
        return (
            f"{a} is better than {b} by {gap:.1f} points ({of}: {low} to {high}), over "
            f"{_OVER[decision.covers]}."
        )
    if pair.apart:
        return (
            f"On such images this {a} beats this {b} by {gap:.1f} points ({of}: {low} to {high}). "
            "Whether the method is better cannot be told from one seed; it would hold if runs vary "
            f"by less than {100 * pair.holds_to_seed_sd:.1f} points."
        )
    this = "this " if decision.covers == IMAGES else ""
    said = (
        f"{this}{a} and {this}{b} cannot be told apart: the difference lies between {low} and "
        f"{high} points ({of})"
    )
    share = "" if this else f"; {100 * pair.images_share:.0f} % of this uncertainty is images"
    said += f"{share}."
    return said[0].upper() + said[1:] if this else said


def count_apart(decision: Decision) -> str:
    """How many pairs are told apart, over what."""
    apart, pairs = sum(pair.apart for pair in decision.pairs), len(decision.pairs)
    if decision.covers == IMAGES:
        return f"{apart} of {pairs} pairs of these tunings are told apart on such test images."
    return f"{apart} of {pairs} pairs of methods are distinguishable over {_OVER[decision.covers]}."


def resolution(decision: Decision) -> str:
    """How large a difference must be to show with so many images and seeds."""
    half = median((pair.high - pair.low) / 2 for pair in decision.pairs)
    seeds = sorted(set(decision.seeds))
    runs = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else count(seeds[0], "seed")
    if decision.covers == SEARCHES:
        runs = f"{seeds[0]:,} searches"
    images = f"{decision.images:,} test images"
    if decision.units < decision.images:
        alike = decision.images - decision.units
        are = "is a near duplicate" if alike == 1 else "are near duplicates"
        images += f" (of which {alike:,} {are} of others or of one group, and count as one)"
    return f"With {images} and {runs}, differences below about {100 * half:.1f} points cannot show."


def standing(entry: Standing) -> str:
    """An entry against the chosen method."""
    run = "this run is " if entry["interval"] == IMAGES else ""
    return {
        None: "–",
        "chosen": "chosen on validation",
        "alike": "cannot be told apart",
        "better": f"{run}better",
        "worse": f"{run}worse",
    }[entry["against"]]


# -- private ---------------------------------------------------------------------------------------


def _margin(board: Sequence[Standing], best: Standing, images: int | None) -> list[str]:
    """By how many validation images the chosen method led the next one."""
    others = [e for e in board if e is not best and e["val_accuracy"] is not None]
    if not others or not images:
        return []
    second = min(others, key=by_validation)
    lead = round(images * ((best["val_accuracy"] or 0.0) - (second["val_accuracy"] or 0.0)))
    if lead == 0:
        return [
            f"It ties with {second['label']} on the {images:,} validation images; a tie goes to "
            "fewer parameters."
        ]
    return [f"It led the next, {second['label']}, by {lead:,} of {images:,} validation images."]


def _relations(judged: Sequence[Standing], best: Standing, one_seed: bool) -> list[str]:
    """Who is worse than the chosen method, who is better, and who cannot be told apart from it."""
    who = f"this {best['label']}" if one_seed else best["label"]
    kinds = ("worse", "better", "alike")
    named = {kind: [e["label"] for e in judged if e["against"] == kind] for kind in kinds}
    said = []
    if named["worse"]:
        said.append(f"{who} is better than {join_names(named['worse'])}.")
    if named["better"]:
        better = join_names(named["better"])
        are = "are" if len(named["better"]) > 1 else "is"
        said.append(f"{better} {are} better than {who}, which validation did not foresee.")
    if named["alike"]:
        line = f"{who} cannot be told apart from {join_names(named['alike'])}"
        alike = [e for e in judged if e["against"] == "alike"]
        fewest, smallest = min(
            ((e["trainable"] or 0, e["label"]) for e in alike), key=itemgetter(0)
        )
        if fewest < (best["trainable"] or 0):
            line += f", of which {smallest} is smallest with {fewest:,} parameters"
        said.append(f"{line}.")
    return [line[0].upper() + line[1:] if one_seed else line for line in said]
