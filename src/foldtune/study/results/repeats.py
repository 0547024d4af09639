"""Searches repeated on the same data, judged over new images, new seeds and new searches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foldtune.analysis.decision import Decision, decide
from foldtune.errors import InputError
from foldtune.study.results.predictions import Predictions, read_predictions


def decide_over_repeats(folders: Sequence[Path]) -> Decision:
    """What several searches of the same methods on the same splits tell apart.

    Each search is one repetition: a method's answer to an image is the share of its final runs that
    are right. So the spread between searches, with all that choosing hyper-parameters again
    changes, takes the place of that between seeds. Raises InputError for fewer than two studies,
    for other test images, and where no two methods are in all of them.
    """
    if len({Path(folder).resolve() for folder in folders}) < 2:
        raise InputError("repeated searches are two or more studies, each in a folder of its own")
    found = [read_predictions(Path(folder)) for folder in folders]
    for folder, one in zip(folders, found, strict=True):
        _check(Path(folder), one, found[0])
    names = [n for n in found[0].panel.names if all(n in one.panel.names for one in found)]
    if len(names) < 2:
        raise InputError(
            f"the studies have {len(names)} tested methods in common; a judgement needs two: "
            + "; ".join(", ".join(one.panel.names) for one in found)
        )
    scores = {n: np.stack([one.panel.scores[n].mean(0) for one in found]) for n in names}
    panel, groups = found[0].panel, found[0].groups
    return decide(
        scores, groups, replicates="searches", proportions=not panel.metric, least=panel.least
    )


def _check(folder: Path, one: Predictions, first: Predictions) -> None:
    same_data = one.rows[0].get("data_identity") == first.rows[0].get("data_identity")
    if not same_data or not np.array_equal(one.images, first.images):
        raise InputError(
            f"{folder} was tested on other images than the first study; repeat a search on the "
            "same splits: foldtune compare ... --search-seed 1 --out ANOTHER, with the same --seed"
        )
    tuned = {row["seed"] for row in one.rows if row["stage"] != "final"}
    if one is not first and tuned & {r["seed"] for r in first.rows if r["stage"] != "final"}:
        raise InputError(
            f"{folder} was searched with the seed of the first study, so it repeats nothing; give "
            "each its own --search-seed"
        )
