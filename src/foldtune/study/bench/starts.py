"""Where classifiers start: found on the plain backbone, once a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune.backbones import Backbone
from foldtune.backbones.clip_text import ZERO_SHOT, Prompts, zero_shot_head
from foldtune.backbones.prepare import prepare_for
from foldtune.core.container import CONTAINER
from foldtune.core.method import written_out
from foldtune.core.structure.head import find_head
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.judging.predict import predict_logits
from foldtune.study.bench.ground import Ground
from foldtune.study.bench.judging import score_and_loss
from foldtune.study.bench.probes import solve
from foldtune.study.bench.run import Run
from foldtune.tasks.kinds import SingleLabel
from foldtune.tasks.task import Task
from foldtune.training.probe import REGULARISED, Probe, classifier_inputs
from foldtune.training.recipe import NO_REMEDY

Start = tuple[Tensor, Tensor]  # weight (classes, channels) and bias (classes,)


def refuse_zero_shot(task: Task) -> None:
    """Raise InputError where a text tower's classes are no answers of the task."""
    if not isinstance(task, SingleLabel):
        raise InputError(
            f"a zero-shot start compares classes, and {task!r} has none; choose another --head"
        )


class Starts:
    """The starts of classifiers on a plain backbone and data; what is costly is kept."""

    def __init__(self, backbone: Backbone, data: ImageData) -> None:
        self._backbone, self._data = backbone, data
        self._features: dict[str, np.ndarray] = {}
        self._tables: dict[tuple[str, ...], np.ndarray] = {}
        self._probes: dict[tuple[tuple[str, ...], float | None, int, str], Probe] = {}
        self._zero_shot: dict[str, Start] = {}
        self._judged: dict[tuple[Any, ...], dict[str, float]] = {}

    def of(
        self, head: str, train_on: tuple[str, ...], C: float | None = None, seed: int = 0,
        remedy: str = NO_REMEDY,
    ) -> Start | None:  # fmt: skip
        """The start that a run's `head` names, for its training splits; None for "default".

        C, seed: of "probe", see `solve_probe`; remedy: the recipe's, for unlike classes. Asked for
        while the backbone is plain.
        """
        if head in ("probe", "regularised"):
            found = self.probe(train_on, C if head == "probe" else REGULARISED, seed, remedy)
            return found.weight, found.bias
        classes = self._data.outputs
        if head.startswith(ZERO_SHOT):
            if head not in self._zero_shot:
                refuse_zero_shot(self._data.task)
                prompts = Prompts.parse(head)
                self._zero_shot[head] = zero_shot_head(self._backbone, classes, prompts)
            return self._zero_shot[head]
        if head == "zero":
            model = self._backbone.model
            width = model.get_submodule(find_head(model)[0]).get_parameter("weight").shape[1]
            many = self._data.task.logits(len(classes))
            return torch.zeros(many, width), torch.zeros(many)
        return None

    def probe(
        self, train_on: tuple[str, ...], C: float | None = None, seed: int = 0,
        remedy: str = NO_REMEDY,
    ) -> Probe:  # fmt: skip
        """The classifier solved on the plain backbone's features of these splits."""
        key = (train_on, C, seed, remedy)
        if key not in self._probes:
            path, data = find_head(self._backbone.model)[0], self._data
            features = np.concatenate([self._split_features(path, s) for s in train_on])
            rows = np.concatenate([data.splits[s] for s in train_on])
            groups = np.asarray(data.groups)[rows] if data.groups else ()
            self._probes[key] = solve(
                data.task, features, data.targets[rows], len(data.outputs), C, groups, seed, remedy
            )
        return self._probes[key]

    def judge(self, run: Run, ground: Ground) -> dict[str, float]:
        """Validation of what a run starts from; computed once for all that start alike."""
        recipe, method = run.recipe, written_out(run.method)
        key = (method, run.head, run.train_on, run.seed, run.metric,
               recipe.precision, recipe.channels_last, recipe.imbalance)  # fmt: skip
        if key not in self._judged:
            logits = predict_logits(
                ground.model, ground.inputs, ground.watched, ground.prepare,
                precision=recipe.precision,
            )  # fmt: skip
            truth = self._data.targets[ground.watched]
            self._judged[key] = score_and_loss(logits, truth, self._data.task, run.metric)
        return self._judged[key]

    def table(self, splits: tuple[str, ...]) -> np.ndarray:
        """What reaches the plain classifier, at its image's row; rows of other splits are zero.

        Asked for while the backbone is plain, or nothing but its classifier was replaced.
        """
        if splits not in self._tables:
            path = find_head(self._backbone.model)[0]
            found = [self._split_features(path, split) for split in splits]
            table = np.zeros((len(self._data.pixels), found[0].shape[1]), np.float32)
            for split, features in zip(splits, found, strict=True):
                table[self._data.splits[split]] = features
            self._tables[splits] = table
        return self._tables[splits]

    def _split_features(self, head: str, split: str) -> np.ndarray:
        """Classifier inputs of the plain backbone, computed once."""
        if split not in self._features:
            added = getattr(self._backbone.model, CONTAINER, None)
            if added is not None and any(True for _ in added.parameters()):
                raise InputError("features of the plain backbone, asked for while one is attached")
            rows = self._data.splits[split]
            self._features[split] = classifier_inputs(
                self._backbone.model, head, self._data.pixels, rows, prepare_for(self._backbone)
            )
        return self._features[split]
