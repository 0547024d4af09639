"""What a run trains and on what: its model, and the inputs that reach it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.core.attachment import Attachment
from foldtune.training.batches import Prepare
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


def only_a_classifier(attachment: Attachment, recipe: Recipe) -> bool:
    """Whether nothing below the classifier can change from one epoch to the next."""
    varied = recipe.augment or recipe.mixup or recipe.cutmix or recipe.precision != "fp32"
    return not attachment.trainable and not varied and len(attachment.head) == 1


def as_they_are(batch: Tensor, _generator: torch.Generator | None) -> Tensor:
    """Features need no preparing."""
    return batch


def swept(folder: Path) -> None:
    """The run's folder, without what a process left there that was killed as it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)
