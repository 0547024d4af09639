"""What a run trains and on what: its model, and the inputs that reach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.attachment import Attachment
from foldtune.data import ImageData
from foldtune.study.bench.run import Run
from foldtune.training.batches import Prepare
from foldtune.training.prefix import Prefix, prefix_of
from foldtune.training.recipe import Recipe


@dataclass(frozen=True)
class Ground:
    """A run's model, inputs and rows.

    model: the whole model, or its classifier alone where nothing below it can change; inputs:
    pixels, or the classifier's inputs; indices: rows to train on; watched: rows of validation;
    head: names of the classifier's parameters in the model.
    """

    model: nn.Module
    inputs: np.ndarray
    prepare: Prepare
    indices: np.ndarray
    watched: np.ndarray
    head: tuple[str, ...]


def ground_of(
    attachment: Attachment, run: Run, backbone: Backbone, data: ImageData,
    features: Callable[[tuple[str, ...]], np.ndarray],
) -> Ground:  # fmt: skip
    """Of a run whose method is attached. features: see `Starts.table`."""
    indices, watched = data.split(*run.train_on), data.split("val")
    if not only_a_classifier(attachment, run.recipe):
        prepare, names = prepare_for(backbone, run.recipe.augment), attachment.head_names
        return Ground(attachment.model, data.pixels, prepare, indices, watched, names)
    # Nothing below the classifier can change, so it is not computed again every epoch.
    classifier = attachment.model.get_submodule(attachment.head[0])
    inputs = features(tuple(dict.fromkeys((*run.train_on, "val"))))
    names = tuple(name for name, _ in classifier.named_parameters())
    return Ground(classifier, inputs, as_they_are, indices, watched, names)


def prefix_below(
    attachment: Attachment, recipe: Recipe, backbone: Backbone, data: ImageData, limit: int
) -> Prefix | None:
    """The backbone cut below its first block that trains, where that gives the same; limit: bytes
    that its features may take."""
    blocks = [site.path for site in attachment.sites if site.role == "block"]
    if not blocks or attachment.touches(blocks[0]):  # most methods: nothing lies below
        return None
    images = sum(len(data.splits[name]) for name in ("train", "val"))
    return prefix_of(attachment.model, blocks, recipe, backbone.example(), images, limit)


def only_a_classifier(attachment: Attachment, recipe: Recipe) -> bool:
    """Whether nothing below the classifier can change from one epoch to the next."""
    varied = recipe.augment or recipe.mixup or recipe.cutmix or recipe.precision != "fp32"
    return not attachment.trainable and not varied and len(attachment.head) == 1


def as_they_are(batch: Tensor, _generator: torch.Generator | None) -> Tensor:
    """Features need no preparing."""
    return batch


def sweep(folder: Path) -> None:
    """The run's folder, without what a process left there that was killed as it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)
