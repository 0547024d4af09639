"""K-fold comparison: every image is tested once, by methods that were tuned without its fold.

Each fold is a study of its own, `OUT/fold<k>`, with its search, validation and winner; its test
split is read once. Pooled, every image counts once. Training sets of two folds share most of their
images, so the folds are no independent repetitions, and no variance over them is unbiased (Bengio
and Grandvalet, JMLR 2004): intervals cover new images, and seeds where there are several.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.analysis.decision import Decision, decide
from foldtune.analysis.panel import Member, Panel
from foldtune.data import ImageData
from foldtune.data.grouping import grouped
from foldtune.data.identity import as_bytes, split_hash
from foldtune.data.splits import stratified
from foldtune.data.tasks import settled_for, strata_of
from foldtune.errors import InputError
from foldtune.options.groups import DataOptions, ModelOptions, StudyOptions
from foldtune.options.taken import of, takes
from foldtune.study.bench.about import source_of
from foldtune.study.bench.execute import MakeExecutor, Say
from foldtune.study.compare import OPTIONS, compare
from foldtune.study.conclusion import Comparison
from foldtune.study.inputs import Data, Model, as_backbone, as_data, silent
from foldtune.study.results.predictions import read_predictions
from foldtune.study.results.rowfile import replace as put
from foldtune.study.terms import Asked, agreed
from foldtune.training.recipe import Recipe

FOLDS = "folds.json"
_SAID = (
    "Every image is tested once. Training sets of the folds overlap, so folds are no repetitions: "
    "intervals cover new images (and training seeds), not new training sets."
)


@dataclass(frozen=True)
class Folded:
    """folds: each fold's study; decision: of all images together, methods by label; winners: the
    method that each fold chose on its validation; said: what a reader must know."""

    folds: tuple[Comparison, ...]
    decision: Decision
    winners: tuple[str | None, ...]
    said: str = _SAID


@takes(*OPTIONS)
def compare_folds(
    data: Data,
    model: Model = "micro",
    methods: Sequence[str] = (),
    *,
    folds: int,
    out: str | Path,
    recipe: Recipe | None = None,
    executor: str | MakeExecutor | None = None,
    say: Say | None = None,
    command: str | None = None,
    **options: Any,
) -> Folded:
    """`compare` once a fold, its test images being the fold, with the options of `compare`.

    Folds are drawn by task and groups as splits are, from all images, whatever splits were given;
    validation is a fifth of the rest. A call that was stopped goes on where it was. Raises
    InputError for fewer than two folds, and as `compare` does.
    """
    if type(folds) is not int or folds < 2:
        raise InputError(f"folds={folds!r} is not allowed; two or more, such as --folds 5")
    say, seed = say or silent, of(StudyOptions, options).seed
    asked = Asked.of(methods, recipe, options)
    backbone = as_backbone(model, of(ModelOptions, options))
    rules = agreed(asked, source_of(data), backbone, seed).protocol
    if rules is not None:
        backbone = rules.transformed(backbone)
    images = as_data(data, backbone, seed, asked.reading(options), say)
    loaded = {field.name for group in (ModelOptions, DataOptions) for field in fields(group)}
    more = {name: value for name, value in options.items() if name not in loaded}
    if asked.task is not None:
        more["task"] = asked.task
    found = []
    for number, rows in enumerate(fold_rows(images, folds, seed)):
        say(f"fold {number + 1} of {folds}: {len(rows)} test images")
        part, place = fold_data(images, rows, seed, number), Path(out) / f"fold{number}"
        found.append(
            compare(
                part, backbone, methods, out=place, recipe=recipe, executor=executor, say=say,
                command=command, **more,
            )
        )  # fmt: skip
    decision = pooled([one.folder for one in found])
    winners = tuple(one.winner["label"] if one.winner else None for one in found)
    told = {"folds": folds, "winners": list(winners), "said": _SAID, "decision": decision.told()}
    put(Path(out) / FOLDS, (json.dumps(told, indent=2) + "\n").encode())
    return Folded(tuple(found), decision, winners)


def fold_rows(data: ImageData, folds: int, seed: int) -> list[np.ndarray]:
    """The rows of each fold: drawn one after the other, each its share of what is left."""
    left, found = data.split(*data.splits), []
    for number in range(folds - 1):
        share = 1 / (folds - number)
        drawn = _drawn(data, left, {"train": 1 - share, "test": share}, seed)
        found.append(drawn["test"])
        left = np.setdiff1d(left, drawn["test"])
    return [*found, left]


def fold_data(data: ImageData, rows: np.ndarray, seed: int, number: int) -> ImageData:
    """The data with these rows as test images, and a fifth of the others as validation."""
    rest = np.setdiff1d(data.split(*data.splits), rows)
    splits = {**_drawn(data, rest, {"train": 0.8, "val": 0.2}, seed), "test": rows}
    facts = {
        **data.facts,
        "counts": {name: len(part) for name, part in splits.items()},
        "split_rule": f"fold {number + 1}, seed {seed}",
        "split_hash": split_hash(splits),
    }
    task = settled_for(data.task, data.classes, data.labels, splits)
    return replace(data, splits=splits, facts=facts, task=task)


def pooled(folders: Sequence[Path]) -> Decision:
    """What all folds' test images together tell apart. A method's seeds are paired by their place.

    A metric that is no mean over images is that of all answers together.
    """
    parts = [read_predictions(folder) for folder in folders]
    names = [n for n in parts[0].panel.names if all(n in one.panel.runs for one in parts)]
    seeds = min(len(one.panel.runs[n]) for one in parts for n in names)
    runs = {
        name: [
            Member(name, s, np.concatenate([one.panel.runs[name][s].logits for one in parts]))
            for s in range(seeds)
        ]
        for name in names
    }
    first = parts[0].panel
    labels = np.concatenate([one.panel.labels for one in parts])
    panel = Panel(labels, runs, first.task, first.metric)
    groups = None
    if any(one.groups is not None for one in parts):
        each = [one.images if one.groups is None else one.groups for one in parts]
        groups = np.concatenate(each)
    return decide(panel.scores, groups, proportions=not panel.metric, least=panel.least)


def _drawn(
    data: ImageData, rows: np.ndarray, shares: dict[str, float], seed: int
) -> dict[str, np.ndarray]:
    keys, groups = as_bytes(data.keys[:, :16]), data.groups
    strata = strata_of(data.task, data.classes, data.labels, keys, groups, seed)
    if strata is not None:
        return strata.draw(rows, shares)
    if groups:
        return grouped(rows, data.labels, keys, groups, data.classes, shares, seed)
    return stratified(rows, data.labels, keys, data.classes, shares, seed)
