"""A comparison over several splits: K folds, splits drawn R times, or K folds R times.

Each split is a study of its own, `OUT/fold<k>`, `OUT/repeat<r>` or `OUT/repeat<r>-fold<k>`, with
its search, validation and winner; its test split is read once. Of folds every image is tested once.
Of repeats an image may be tested in several: its answers count as one draw of an image. Training
sets of two splits share most of their images, so splits are no independent repetitions, and no
variance over them is unbiased (Bengio and Grandvalet, JMLR 2004): intervals cover new images, and
seeds where there are several.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.analysis.decision import Decision, decide
from foldtune.analysis.panel import Member, Panel
from foldtune.data import ImageData
from foldtune.data.grouping import draw_by_groups
from foldtune.data.identity import as_bytes, split_hash
from foldtune.data.splits import draw_by_classes
from foldtune.data.tasks import settled_for, strata_of
from foldtune.errors import InputError
from foldtune.options.groups import DataOptions, ModelOptions, StudyOptions
from foldtune.options.taken import of, takes
from foldtune.study.bench.about import source_of
from foldtune.study.bench.execute import MakeExecutor, Say
from foldtune.study.compare import OPTIONS, compare
from foldtune.study.conclusion import Comparison
from foldtune.study.inputs import Data, Model, as_backbone, as_data, silent
from foldtune.study.results.predictions import Predictions, read_predictions
from foldtune.study.results.rowfile import replace as put
from foldtune.study.terms.asked import Asked
from foldtune.study.terms.terms import settle_terms
from foldtune.training.recipe import Recipe

FOLDS = "folds.json"
_LARGEST = 1000  # splits
_HELD = 0.2  # of the images in the test split of a repeat
_OVERLAP = (
    "Training sets of the {parts} overlap, so {parts} are no repetitions: intervals cover new "
    "images (and training seeds), not new training sets."
)


@dataclass(frozen=True)
class Folded:
    """folds: each split's study; decision: of all images together, methods by label; winners: the
    method that each split chose on its validation; scores: of each method its score in each split;
    said: what a reader must know."""

    folds: tuple[Comparison, ...]
    decision: Decision
    winners: tuple[str | None, ...]
    scores: Mapping[str, tuple[float, ...]]
    said: str


@takes(*OPTIONS)
def compare_folds(
    data: Data,
    model: Model = "micro",
    methods: Sequence[str] = (),
    *,
    folds: int | None = None,
    repeats: int | None = None,
    out: str | Path = Path("study"),
    recipe: Recipe | None = None,
    executor: str | MakeExecutor | None = None,
    say: Say | None = None,
    command: str | None = None,
    **options: Any,
) -> Folded:
    """`compare` once a split, with the options of `compare`: folds, each of which is the test split
    once; repeats, as many draws of a split whose test images are a fifth; or folds drawn so often.

    Splits are drawn by task and groups, from all images, whatever splits were given; validation is
    a fifth of the rest. A call that was stopped goes on where it was. Raises InputError for fewer
    than two folds or repeats, and as `compare` does.
    """
    _check(folds, repeats)
    say, seed = say or silent, of(StudyOptions, options).seed
    asked = Asked.of(methods, recipe, options)
    backbone = as_backbone(model, of(ModelOptions, options))
    rules = settle_terms(asked, source_of(data), backbone, seed).protocol
    if rules is not None:
        backbone = rules.with_transform(backbone)
    images = as_data(data, backbone, seed, asked.reading(options), say)
    loaded = {field.name for group in (ModelOptions, DataOptions) for field in fields(group)}
    more = {name: value for name, value in options.items() if name not in loaded}
    if asked.task is not None:
        more["task"] = asked.task
    found = []
    splits = list(split_data(images, folds, repeats, seed))
    for number, (name, part) in enumerate(splits, 1):
        say(f"{name}, {number} of {len(splits)}: {len(part.split('test'))} test images")
        found.append(
            compare(
                part, backbone, methods, out=Path(out) / name, recipe=recipe, executor=executor,
                say=say, command=command, **more,
            )
        )  # fmt: skip
    parts = [read_predictions(one.folder) for one in found]
    decision, scores = pool(parts), scores_of(parts)
    winners = tuple(one.winner["label"] if one.winner else None for one in found)
    said = told_of(folds, repeats)
    told = {
        "folds": folds, "repeats": repeats, "winners": list(winners), "said": said,
        "scores": scores, "decision": decision.as_json(),
    }  # fmt: skip
    put(Path(out) / FOLDS, (json.dumps(told, indent=2) + "\n").encode())
    return Folded(tuple(found), decision, winners, scores, said)


def told_of(folds: int | None, repeats: int | None) -> str:
    """What a reader must know of splits: how often an image is tested, and what overlaps."""
    overlap = _OVERLAP.format(parts="folds" if repeats is None else "splits")
    if repeats is None:
        return f"Every image is tested once. {overlap}"
    often = "Every image is tested" if folds else f"{_HELD:.0%} of the images are tested"
    how = f"{repeats} times" if folds else f"in each of {repeats} draws"
    return f"{often} {how}; all answers to an image count as one image. {overlap}"


def split_data(
    data: ImageData, folds: int | None, repeats: int | None, seed: int
) -> Iterator[tuple[str, ImageData]]:
    """The data in each of the splits, by the name of its study."""
    for draw in range(repeats or 1):
        own = seed + draw
        name = f"repeat{draw}"
        if folds is None:
            rows = data.split(*data.splits)
            test = _draw(data, rows, {"train": 1 - _HELD, "test": _HELD}, own)["test"]
            yield name, fold_data(data, test, own, draw, "repeat")
            continue
        for number, rows in enumerate(fold_rows(data, folds, own)):
            fold = f"fold{number}" if repeats is None else f"{name}-fold{number}"
            yield fold, fold_data(data, rows, own, number)


def fold_rows(data: ImageData, folds: int, seed: int) -> list[np.ndarray]:
    """The rows of each fold: drawn one after the other, each its share of what is left."""
    left, found = data.split(*data.splits), []
    for number in range(folds - 1):
        share = 1 / (folds - number)
        drawn = _draw(data, left, {"train": 1 - share, "test": share}, seed)
        found.append(drawn["test"])
        left = np.setdiff1d(left, drawn["test"])
    return [*found, left]


def fold_data(
    data: ImageData, rows: np.ndarray, seed: int, number: int, kind: str = "fold"
) -> ImageData:
    """The data with these rows as test images, and a fifth of the others as validation."""
    rest = np.setdiff1d(data.split(*data.splits), rows)
    splits = {**_draw(data, rest, {"train": 0.8, "val": 0.2}, seed), "test": rows}
    facts = {
        **data.facts,
        "counts": {name: len(part) for name, part in splits.items()},
        "split_rule": f"{kind} {number + 1}, seed {seed}",
        "split_hash": split_hash(splits),
    }
    task = settled_for(data.task, data.classes, data.labels, splits)
    return replace(data, splits=splits, facts=facts, task=task)


def pool(parts: Sequence[Predictions]) -> Decision:
    """What all splits' test images together tell apart. A method's seeds are paired by their place.

    A metric that is no mean over images is that of all answers together.
    """
    names = _common(parts)
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
    return decide(panel.scores, _groups(parts), proportions=not panel.metric, least=panel.least)


def scores_of(parts: Sequence[Predictions]) -> dict[str, tuple[float, ...]]:
    """Of each method its score in each split, the mean over seeds."""
    return {
        name: tuple(float(one.panel.scores[name].mean()) for one in parts)
        for name in _common(parts)
    }


def _common(parts: Sequence[Predictions]) -> list[str]:
    """The methods that were tested in every split."""
    return [n for n in parts[0].panel.names if all(n in one.panel.runs for one in parts)]


def _groups(parts: Sequence[Predictions]) -> np.ndarray | None:
    """Of each answer which independent image it is about: one of several splits is one, and so are
    images that are alike. None where every answer is about an image of its own."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    images = np.concatenate([one.images for one in parts])
    alike = np.concatenate([one.images if one.groups is None else one.groups for one in parts])
    size = int(max(images.max(), alike.max())) + 1
    joined = coo_array((np.ones(len(images)), (images, alike)), (size, size))
    found: np.ndarray = connected_components(joined, directed=False)[1][images]
    return found if len(np.unique(found)) < len(found) else None


def _check(folds: int | None, repeats: int | None) -> None:
    for name, value in (("folds", folds), ("repeats", repeats)):
        if value is not None and (type(value) is not int or value < 2):
            raise InputError(f"{name}={value!r} is not allowed; two or more, such as --{name} 5")
    if folds is None and repeats is None:
        raise InputError("neither folds nor repeats; give one or both, such as --folds 5")
    if (folds or 1) * (repeats or 1) > _LARGEST:
        raise InputError(f"{folds or 1} folds {repeats or 1} times are more than {_LARGEST} splits")


def _draw(
    data: ImageData, rows: np.ndarray, shares: dict[str, float], seed: int
) -> dict[str, np.ndarray]:
    keys, groups = as_bytes(data.keys[:, :16]), data.groups
    strata = strata_of(data.task, data.classes, data.labels, keys, groups, seed)
    if strata is not None:
        return strata.draw(rows, shares)
    if groups:
        return draw_by_groups(rows, data.labels, keys, groups, data.classes, shares, seed)
    return draw_by_classes(rows, data.labels, keys, data.classes, shares, seed)
