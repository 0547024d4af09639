"""What a larger budget of trials gains: from the trials of finished studies, nothing is trained.

    foldtune compare digits --shots 32 --size 32 --epochs 6 --trials 16 --seeds 1 --out STUDY
    python benchmarks/budget.py STUDY [STUDY ...]

The best of the first n trials of each method is chosen on one half of the validation images and
judged on the other, over 400 random halves, so that no choice is judged on what it was made on.
One JSON line for each n: the points lost against choosing among all trials (mean over methods and
halves, and the method that loses most), and how often the method that n trials choose is the one
that all choose. n = 1 is the usual value of everything.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _lines import Lines, add_results

from foldtune.analysis.selection import in_order
from foldtune.study.results.artefacts import VALIDATION
from foldtune.study.results.logits import read_logits
from foldtune.study.results.store import Store

HALVES = 400
BUDGETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", type=Path, nargs="+")
    add_results(parser)
    asked = parser.parse_args()
    lines = Lines("budget", asked)
    for folder in asked.studies:
        right = trials_of(folder)
        most = min(len(rows) for rows in right.values())
        for budget in [n for n in BUDGETS if n <= most]:
            found = lost(right, budget, most)
            name = f"{folder.name}, lost with {budget} of {most} trials"
            lines.tell(name, found.pop("mean"), "points", trials=budget, **found)


def trials_of(folder: Path) -> dict[str, np.ndarray]:
    """Of each method (trials, images): whether each trial, in the order of the search, is right."""
    found: dict[str, list[np.ndarray]] = {}
    for row in in_order(row for row in Store(folder).rows() if row["stage"] == "trial"):
        path = folder / "runs" / row["run"] / VALIDATION
        if path.exists():
            stored = read_logits(path)
            right = stored.logits.argmax(1) == stored.labels
            found.setdefault(row["label"], []).append(right)
    return {label: np.stack(rows) for label, rows in found.items()}


def lost(right: dict[str, np.ndarray], budget: int, most: int) -> dict[str, Any]:
    """Points lost by the first `budget` trials against `most`, each chosen on one half."""
    images = next(iter(right.values())).shape[1]
    rng = np.random.default_rng(0)
    losses = {label: [] for label in right}
    same = []
    for _ in range(HALVES):
        order = rng.permutation(images)
        chosen_on, judged_on = order[: images // 2], order[images // 2 :]
        few, all_of = {}, {}
        for label, rows in right.items():
            valid, test = rows[:most, chosen_on].mean(1), rows[:most, judged_on].mean(1)
            few[label] = (valid[:budget].max(), test[valid[:budget].argmax()])
            all_of[label] = (valid.max(), test[valid.argmax()])
            losses[label].append(all_of[label][1] - few[label][1])
        same.append(max(few, key=few.get) == max(all_of, key=all_of.get))
    each = {label: 100 * float(np.mean(found)) for label, found in losses.items()}
    worst = max(each, key=each.get)
    return {
        "mean": float(np.mean(list(each.values()))), "most": each[worst], "most_of": worst,
        "same_winner": float(np.mean(same)), "methods": len(right), "images": images,
    }  # fmt: skip


if __name__ == "__main__":
    main()
