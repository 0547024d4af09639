"""Each claim judged from the lines of studies, with its sentence, its table and its points."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from _claims_kept import Line
from _claims_numbers import (
    APART,
    Found,
    board_of,
    ends_of,
    frontier_of,
    mean_over,
    points_of,
    spread,
)

from foldtune.analysis.tasks.ranks import Scores, rank

_CLOSE = 2.0  # points between which tuned methods count as close
_MORE = 1.0  # points that a difference without an interval must have
_SOLVED = "LinearProbe"  # the same from every seed, so that nothing is beyond what its seeds do


def closeness(studies: Sequence[Line]) -> Found | None:
    """Study A: tuned alike, methods are close together with few images."""
    boards = [board_of(study) for study in studies]
    common = [label for label in boards[0] if all(label in board for board in boards)]
    if len(studies) < 2 or len(common) < 2:
        return None
    names, groups = (tuple(study[key] for study in studies) for key in ("study", "group"))
    values = 100 * np.array([[board[label] for board in boards] for label in common])
    scores = Scores(tuple(common), names, groups, values)
    told = rank(scores)
    small = [i for i, name in enumerate(scores.methods) if name not in APART]
    if len(small) < 2:
        return None
    gaps = np.ptp(scores.values[small], axis=0)
    mean = scores.values[small].mean(1)
    between, worst = float(np.ptp(mean)), mean_over(gaps)
    critical = told["nemenyi"]["critical_difference"]
    places = {one["method"]: one["rank"] for one in told["nemenyi"]["ranks"]}
    apart = [
        (a, b) for i, a in enumerate(scores.methods) for b in scores.methods[i + 1 :]
        if {a, b}.isdisjoint(APART) and critical and abs(places[a] - places[b]) > critical
    ]  # fmt: skip
    # That nothing was told apart is no evidence of closeness: every pair's interval must show it.
    gap_of = {(i, j): mean_over(scores.values[i] - scores.values[j])
              for n, i in enumerate(small) for j in small[n + 1 :]}  # fmt: skip
    close = all(low > -_CLOSE and high < _CLOSE for _, low, high in gap_of.values())
    verdict = "for" if close else "against" if apart else "open"
    of_group: Found = dict(told["groups"])
    table = [["method", "mean accuracy", "mean rank", *(f"{name} mean" for name in of_group)]]
    for row in told["overall"]:
        by = [next(r for r in rows if r["method"] == row["method"]) for rows in of_group.values()]
        table.append([row["method"], f"{row['score']:.1f}", f"{row['rank']['value']:.1f}",
                      *(f"{r['score']:.1f}" for r in by)])  # fmt: skip
    return {
        "claim": "Tuned alike, methods are close together with few images",
        "verdict": verdict, "table": table,
        "points": [
            {"label": name, "study": study, "accuracy": float(value)}
            for name, row in zip(scores.methods, scores.values, strict=True)
            for study, value in zip(scores.tasks, row, strict=True)
        ],
        "sentence": f"Over {len(studies)} studies the means of {len(small)} small methods lie "
        f"within {between:.1f} points; on one study the best and the worst of them are "
        f"{spread(worst)} points apart; at a critical difference of {critical:.2f} mean ranks "
        f"{len(apart)} of {len(gap_of)} pairs are told apart, and "
        f"{'all' if close else 'not all'} have an interval within {_CLOSE:.0f} points.",
        "change": "more sets: the critical difference shrinks with their number; larger backbones.",
    }  # fmt: skip


def mistakes(studies: Sequence[Line]) -> Found | None:
    """Study A: methods make different mistakes, and other ones of their sure predictions."""
    beyond, sure = [], []
    for one in studies:
        apart = [p["beyond_seeds"] for p in one["agreement"] or ()
                 if p["beyond_seeds"] is not None and _SOLVED not in (p["a"], p["b"])]  # fmt: skip
        if apart:
            beyond.append(100 * np.mean(apart))
        overlaps = [p for p in one["sure"] or () if _SOLVED not in (p["a"], p["b"])]
        other = [p["jaccard"] for p in overlaps if not p["control"]]
        own = [p["jaccard"] for p in overlaps if p["control"]]
        if other and own:
            sure.append(100 * (np.mean(other) - np.mean(own)))
    if len(beyond) < 2:
        return None
    mean, overlap = mean_over(beyond), mean_over(sure) if len(sure) > 1 else None
    verdict = "for" if mean[2] < 0 else "against" if mean[1] > -0.5 else "open"
    more = "" if overlap is None else (
        f" The overlap (Jaccard) of their most confident right predictions is {spread(overlap)} "
        "points from that of two seeds."
    )  # fmt: skip
    return {
        "claim": "Methods make different mistakes",
        "verdict": verdict,
        "points": points_of({"agreement": beyond, "sure predictions": sure}),
        "sentence": f"The agreement of two methods on test images is {spread(mean)} points from "
        f"that of two seeds of one method (below 0: less), over {len(beyond)} studies, without "
        "the probe, which is solved and so the same from every seed." + more,
        "change": "seeds that differ more, as other training images would make them.",
    }


def ensembles(studies: Sequence[Line]) -> Found | None:
    """Study A: ensembles of methods gain, more than ensembles of seeds."""
    gains, controls = [], []
    for one in studies:
        rows = [r for r in one["ensembles"] or () if r["gain"] is not None]
        mixed = [r["gain"] for r in rows if r["ensemble"] == "all methods"]
        seeds = [r["gain"] for r in rows
                 if r["control"] and _SOLVED not in r["members"]]  # fmt: skip
        if mixed and seeds:
            gains.append(100 * np.mean(mixed))
            controls.append(100 * np.mean(seeds))
    if len(gains) < 2:
        return None
    gain, more = mean_over(gains), mean_over(np.array(gains) - controls)
    passes = max(r["passes"] for one in studies for r in one["ensembles"] or ())
    verdict = "for" if gain[1] > 0 and more[1] > 0 else "against" if gain[2] < 0.5 else "open"
    return {
        "claim": "Ensembles of methods gain, more than ensembles of seeds",
        "verdict": verdict,
        "points": points_of(
            {
                "over the chosen": gains,
                "over seeds": np.array(gains) - controls,
            }
        ),
        "sentence": f"All methods together gain {spread(gain)} points over the method that "
        f"validation chose, and {spread(more)} points more than seeds of one method, over "
        f"{len(gains)} studies, for up to {passes} forward passes an image.",
        "change": "members that are chosen on validation, or more test images.",
    }


def robustness(studies: Sequence[Line]) -> Found | None:
    """Study A: small methods stay more robust than Full; Full between start and tuned is best."""
    table = [["start", "method", "home", "away", "best away at no loss at home"]]
    gap: dict[str, list[float]] = defaultdict(list)
    best, chance, points = 0.0, 0.0, list[Found]()
    for study in studies:
        chance = 1 / study["classes"]
        by: dict[str, list[Found]] = defaultdict(list)
        for one in study["frontiers"]:
            if one["away"]:
                by[one["label"]].append(one)
        ends: dict[str, tuple[float, float, float]] = {}
        for label, runs in by.items():
            points += frontier_of(study["head"], label, runs)
            ends[label] = tuple(np.mean([ends_of(run) for run in runs], axis=0))
            best = max(best, ends[label][1])
            table.append([study["head"], label, *(f"{100 * x:.1f}" for x in ends[label])])
        if "Full" in ends:
            small = [v for k, v in ends.items() if k not in APART]
            gap["tuned"] += [100 * (v[1] - ends["Full"][1]) for v in small]
            gap["between"] += [100 * (ends["Full"][2] - max(v[2] for v in small))]
    if not gap:
        return None
    tuned, between = float(np.mean(gap["tuned"])), float(np.mean(gap["between"]))
    # Without an interval: only what holds for every method and from every start, by more than a
    # point, is a verdict, and where nothing is known of other domains there is nothing to keep.
    holds = min(gap["tuned"]) > _MORE and min(gap["between"]) > 0
    verdict = "for" if holds else "against" if max(gap["tuned"]) < -_MORE else "open"
    lost = best < 2 * chance
    if lost:
        verdict = "open"
    return {
        "claim": "Small methods keep robustness, and Full between start and tuned balances best",
        "verdict": verdict, "table": table, "points": points,
        "sentence": f"On other domains small methods are {tuned:+.1f} points from tuned Full; "
        f"Full at its best point between start and tuned is {between:+.1f} points from the best of "
        "theirs, with nothing lost at home (means over starts and seeds, no interval: one home "
        "set)."
        + (f" The best has {100 * best:.1f} % there, where chance has {100 * chance:.1f}: too "
           "little for a verdict." if lost else ""),
        "change": "a backbone with a zero-shot start (CLIP), which the published claim is about, "
        "and more home sets.",
    }  # fmt: skip


def ssf(studies: Sequence[Line]) -> Found | None:
    """SSF: reaches full tuning with few parameters, above other small methods."""
    to_full, to_others, share = [], [], []
    for study in studies:
        board = {entry["label"]: entry for entry in study["board"]}
        own = board.get("SSF")
        if own is None or own["test_accuracy"] is None:
            continue
        others = [e["test_accuracy"] for k, e in board.items()
                  if k not in (*APART, "SSF") and e["test_accuracy"] is not None]  # fmt: skip
        full = board.get("Full")
        if full is not None and full["test_accuracy"] is not None:
            to_full.append(100 * (own["test_accuracy"] - full["test_accuracy"]))
            share.append(100 * own["trainable"] / own["total"])
        if others:
            to_others.append(100 * (own["test_accuracy"] - np.mean(others)))
    if len(to_full) < 2 or len(to_others) < 2:
        return None
    full, others = mean_over(to_full), mean_over(to_others)
    verdict = "for" if full[1] > -1 and others[1] > 0 else "against" if full[2] < -1 else "open"
    return {
        "claim": "SSF reaches full tuning with few parameters, above other small methods",
        "verdict": verdict,
        "points": points_of({"over Full": to_full, "over other methods": to_others}),
        "sentence": f"SSF trains {np.mean(share):.2f} % of the parameters and is {spread(full)} "
        f"points from Full and {spread(others)} points from the mean of the other small methods, "
        f"over {len(to_full)} studies.",
        "change": "many images a class, where the paper has it, and its backbones.",
    }
