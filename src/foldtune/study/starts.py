"""Where classifiers start: found on the plain backbone, once a study."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foldtune.backbones import Backbone
from foldtune.backbones.clip_text import ZERO_SHOT, Prompts, zero_shot_head
from foldtune.core.attachment import CONTAINER
from foldtune.core.head import find_head
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.study.ground import prepare_for
from foldtune.training.probe import classifier_inputs, solve_probe

Start = tuple[Tensor, Tensor]  # weight (classes, channels) and bias (classes,)


class Starts:
    """The starts of classifiers on a plain backbone and data; what is costly is kept."""

    def __init__(self, backbone: Backbone, data: ImageData) -> None:
        self._backbone, self._data = backbone, data
        self._features: dict[str, np.ndarray] = {}
        self._tables: dict[tuple[str, ...], np.ndarray] = {}
        self._known: dict[tuple[str, tuple[str, ...]], Start] = {}

    def of(self, head: str, train_on: tuple[str, ...]) -> Start | None:
        """The start that a run's `head` names, for its training splits; None for "default".

        Asked for while the backbone is plain.
        """
        key = (head, train_on)
        if key not in self._known:
            found = self._made(head, train_on)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]

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

    def _made(self, head: str, train_on: tuple[str, ...]) -> Start | None:
        classes = self._data.classes
        model = self._backbone.model
        path = find_head(model)[0]
        if head.startswith(ZERO_SHOT):
            return zero_shot_head(self._backbone, classes, Prompts.parse(head))
        if head == "probe":
            features = np.concatenate([self._split_features(path, s) for s in train_on])
            labels = np.concatenate([self._data.labels[self._data.splits[s]] for s in train_on])
            found = solve_probe(features, labels, len(classes))
            return found.weight, found.bias
        if head == "zero":
            width = model.get_submodule(path).get_parameter("weight").shape[1]
            return torch.zeros(len(classes), width), torch.zeros(len(classes))
        return None

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
