"""Which labels of data seem wrong to a probe on frozen features that did not see the image."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.analysis.judgement.doubts import RULES
from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.structure.head import find_head
from foldtune.data import ImageData
from foldtune.errors import InputError, unknown_name
from foldtune.tasks.kinds import SingleLabel
from foldtune.training.probe import classifier_inputs, folds, solve_probe

_COLUMNS = ("image", "split", "label", "seems", "label_probability", "seems_probability")


def doubts(
    data: ImageData, backbone: Backbone, seed: int = 0, by: str = "own"
) -> list[dict[str, Any]]:
    """Doubtful images, the most doubtful first, see `analysis.judgement.doubts`.

    Each image is judged by a probe of the four other fifths of all images, groups whole. by: the
    rule, "own" or "cleanlab". Raises InputError for another task than one class an image, and where
    nothing can be held out.
    """
    if by not in RULES:
        raise unknown_name("rule of doubt", by, RULES)
    if not isinstance(data.task, SingleLabel):
        raise InputError(f"doubtful labels are told of one class an image, not of {data.task!r}")
    rows = data.split(*data.splits)
    labels = data.labels[rows]
    groups = np.asarray(data.groups)[rows] if data.groups else ()
    fold = folds(labels, groups, np.random.default_rng(seed))
    if fold is None:
        raise InputError(f"no class of {data.name} has two images, so none can be held out")
    head = find_head(backbone.model)[0]
    features = classifier_inputs(backbone.model, head, data.pixels, rows, prepare_for(backbone))
    penalty = solve_probe(features, labels, len(data.classes), None, groups, seed).C
    shares = np.zeros((len(rows), len(data.classes)))
    for number in range(int(fold.max()) + 1):
        held = fold == number
        probe = solve_probe(features[~held], labels[~held], len(data.classes), penalty)
        logits = features[held] @ probe.weight.numpy().T + probe.bias.numpy()
        shares[held] = data.task.probabilities(logits)
    of = {row: name for name, part in data.splits.items() for row in part.tolist()}
    found, seems = RULES[by](shares, labels)
    return [
        {
            "image": data.names[rows[at]], "split": of[int(rows[at])],
            "label": data.classes[labels[at]], "seems": data.classes[other],
            "label_probability": round(float(shares[at, labels[at]]), 4),
            "seems_probability": round(float(shares[at, other]), 4),
        }
        for at, other in zip(found.tolist(), seems.tolist(), strict=True)
    ]  # fmt: skip


def write_doubts(rows: list[dict[str, Any]], out: Path) -> Path:
    """Write them as a CSV."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return out
