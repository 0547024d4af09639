"""A quick look at labelled images through a frozen backbone, before any tuning."""

from __future__ import annotations

from typing import Any

import numpy as np

from foldtune.analysis.tasks.reference import above_chance
from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.structure.head import find_head
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.tasks.kinds import SingleLabel
from foldtune.training.probe import classifier_inputs, solve_probe

# As many images as the published tasks have for training, so that the probes compare.
_IMAGES = 1000
_FOLDS = 5
_NEIGHBOURS = 5


def look(data: ImageData, backbone: Backbone, seed: int = 0) -> dict[str, Any]:
    """Facts of the training and validation images; the test split is not looked at.

    `probe` and `neighbours`: accuracy of a linear probe and of the 5 nearest neighbours (cosine)
    on frozen features, each image judged by a model that did not see it (5 folds, stratified, at
    most 1,000 images). `quality`: the probe's, above chance; `variance`: of that. `between`: the
    share of the features' variance that lies between class means. `dimension`: the participation
    ratio of their covariance, (sum of eigenvalues)^2 / sum of squares. Raises InputError for a
    class with one image.
    """
    if not isinstance(data.task, SingleLabel):
        raise InputError(
            f"advice is of studies of one class an image, and {data.name} is of {data.task!r}; "
            "compare methods on it"
        )
    pool = data.split("train", "val")
    counts = np.bincount(data.labels[pool], minlength=len(data.classes))
    if counts.min() < 2:
        poor = data.classes[int(counts.argmin())]
        raise InputError(
            f"class {poor} of {data.name} has {counts.min()} images outside the test split; advice "
            "needs two, one to learn from and one to judge"
        )
    rows = _sample(pool, data.labels, len(counts), seed)
    head = find_head(backbone.model)[0]
    features = classifier_inputs(backbone.model, head, data.pixels, rows, prepare_for(backbone))
    labels = data.labels[rows]
    probe, neighbours = _held_out(features, labels, len(counts), seed)
    chance = 1 / len(counts)
    return {
        "images": len(pool),
        "looked_at": len(rows),
        "classes": len(counts),
        "images_per_class": {
            "least": int(counts.min()),
            "median": float(np.median(counts)),
            "most": int(counts.max()),
        },
        "largest_class": float(counts.max() / counts.sum()),
        "probe": probe,
        "neighbours": neighbours,
        "quality": above_chance(probe, len(counts)),
        "variance": probe * (1 - probe) / len(rows) / (1 - chance) ** 2,
        "between": _between(features, labels),
        "dimension": _dimension(features),
    }


def _sample(pool: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """At most `_IMAGES` rows with the classes' shares kept, two of each class at least."""
    mixed = np.random.default_rng(seed).permutation(pool)
    share = min(1.0, _IMAGES / len(pool))
    kept = []
    for label in range(classes):
        its = mixed[labels[mixed] == label]
        kept.append(its[: max(2, round(share * len(its)))])
    return np.sort(np.concatenate(kept))


def _held_out(
    features: np.ndarray, labels: np.ndarray, classes: int, seed: int
) -> tuple[float, float]:
    from sklearn.model_selection import StratifiedKFold

    folds = int(min(_FOLDS, np.bincount(labels, minlength=classes).min()))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    probed = near = 0
    # One penalty for all folds: chosen in each anew it takes five times as long.
    penalty = solve_probe(features, labels, classes, seed=seed).C
    for seen, unseen in splitter.split(features, labels):
        found = solve_probe(features[seen], labels[seen], classes, penalty)
        logits = features[unseen] @ found.weight.numpy().T + found.bias.numpy()
        probed += int((logits.argmax(1) == labels[unseen]).sum())
        nearest = _nearest(features[seen], labels[seen], features[unseen], classes)
        near += int((nearest == labels[unseen]).sum())
    return probed / len(labels), near / len(labels)


def _nearest(known: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int) -> np.ndarray:
    """The class with the largest summed cosine among the nearest neighbours."""
    known, asked = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
                    for x in (known, asked))  # fmt: skip
    cosine = asked @ known.T
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :_NEIGHBOURS]
    votes = np.zeros((len(asked), classes))
    for column in near.T:
        votes[np.arange(len(asked)), labels[column]] += cosine[np.arange(len(asked)), column]
    found: np.ndarray = votes.argmax(1)
    return found


def _between(features: np.ndarray, labels: np.ndarray) -> float:
    centred = features - features.mean(0)
    total = float((centred**2).sum())
    means = [centred[labels == k] for k in np.unique(labels)]
    inside = sum(len(group) * float((group.mean(0) ** 2).sum()) for group in means)
    return inside / total if total else 0.0


def _dimension(features: np.ndarray) -> float:
    centred = (features - features.mean(0)).astype(np.float64)
    # The smaller Gram matrix has the same nonzero eigenvalues.
    wide = centred.shape[1] > len(centred)
    gram = centred @ centred.T if wide else centred.T @ centred
    squares = float((gram**2).sum())
    return float(np.trace(gram)) ** 2 / squares if squares else 0.0
