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
from foldtune.data.augment import Normalise, augment, parse_kind, to_float
from foldtune.errors import InputError
from foldtune.training.loop import Prepare
from foldtune.training.probe import classifier_inputs, solve_probe

Start = tuple[Tensor, Tensor]  # weight (classes, channels) and bias (classes,)


class Starts:
    """The starts of classifiers on a plain backbone and data; what is costly is kept."""

    def __init__(self, backbone: Backbone, data: ImageData) -> None:
        self._backbone, self._data = backbone, data
        self._features: dict[str, np.ndarray] = {}
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

    def _made(self, head: str, train_on: tuple[str, ...]) -> Start | None:
        classes = self._data.classes
        model = self._backbone.model
        path = find_head(model)[0]
        if head.startswith(ZERO_SHOT):
            return zero_shot_head(self._backbone, classes, Prompts.parse(head))
        if head == "probe":
            features = np.concatenate([self._split_features(path, s) for s in train_on])
            labels = np.concatenate([self._data.labels[self._data.splits[s]] for s in train_on])
            return solve_probe(features, labels, len(classes))
        if head == "zero":
            width = model.get_submodule(path).get_parameter("weight").shape[1]
            return torch.zeros(len(classes), width), torch.zeros(len(classes))
        return None

    def _split_features(self, head: str, split: str) -> np.ndarray:
        """Classifier inputs of the plain backbone, computed once."""
        if split not in self._features:
            if hasattr(self._backbone.model, CONTAINER):
                raise InputError("features of the plain backbone, asked for while one is attached")
            rows = self._data.splits[split]
            self._features[split] = classifier_inputs(
                self._backbone.model, head, self._data.pixels, rows, prepare_for(self._backbone)
            )
        return self._features[split]


def prepare_for(backbone: Backbone, kinds: tuple[str, ...] = ()) -> Prepare:
    """From a uint8 batch to what the backbone takes; augmented where a generator is given."""
    mean, std = backbone.transform.mean, backbone.transform.std
    dtype = next(backbone.model.parameters()).dtype
    for kind in kinds:  # so that a slip of the pen is told before the first step
        parse_kind(kind)

    def prepared(batch: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None or not kinds:
            return to_float(batch, mean, std).to(dtype)
        images = augment(to_float(batch, (0, 0, 0), (1, 1, 1)), kinds, generator)
        return Normalise(mean, std)(images).to(dtype)

    return prepared
