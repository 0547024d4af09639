"""What is minimised: the loss of each task, and the three remedies for classes of unlike size.

weighted: each image's loss times N / (K n_c), scikit-learn's "balanced" (King and Zeng, Political
Analysis 2001). effective: times (1 - b) / (1 - b^n_c), b = 1 - 1/N, to mean 1 over the training
images (Cui et al., CVPR 2019). adjusted: the log of each class's share is added to its logit in
training (Menon et al., ICLR 2021, tau = 1). sampler: classes are drawn evenly (Kang et al., ICLR
2020), see `evenly_drawn`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foldtune.core.tensors import send
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression, SingleLabel
from foldtune.tasks.task import Task
from foldtune.training import seeds
from foldtune.training.recipe import NO_REMEDY, Recipe
from foldtune.training.regularise import loss_of

# Mean loss of logits (batch, outputs) for the targets of the batch.
Loss = Callable[[Tensor, Tensor], Tensor]


def objective(task: Task, recipe: Recipe, targets: np.ndarray) -> Loss:
    """The loss of a training. targets: of the training images.

    Raises InputError for an option of the recipe that has no meaning for the task.
    """
    if isinstance(task, SingleLabel):
        return _of_classes(recipe, targets)
    for name in ("label_smoothing", "mixup", "cutmix"):
        if getattr(recipe, name):
            raise InputError(
                f"recipe: {name} mixes classes, and {type(task).__name__} has none; set it to 0"
            )
    if recipe.imbalance != NO_REMEDY:
        raise InputError(
            f"recipe: imbalance={recipe.imbalance!r} is of classes, and {type(task).__name__} has "
            f"none; set it to {NO_REMEDY!r}"
        )
    if isinstance(task, MultiLabel):
        return lambda logits, wanted: F.binary_cross_entropy_with_logits(_wide(logits), wanted)
    if isinstance(task, Ordinal):
        return corn_loss
    assert isinstance(task, Regression)
    return lambda logits, wanted: F.mse_loss(_wide(logits)[:, 0], (wanted - task.mean) / task.std)


def _of_classes(recipe: Recipe, labels: np.ndarray) -> Loss:
    smoothing = recipe.label_smoothing
    if recipe.imbalance in (NO_REMEDY, "sampler"):
        return lambda logits, wanted: loss_of(logits, wanted, smoothing)
    if recipe.imbalance == "adjusted":
        shares = np.bincount(labels) / len(labels)
        known = torch.from_numpy(np.log(np.maximum(shares, 1e-12))).float()
        # A class without a training image is none that could be answered.
        offset = _for_logits(known, float(known.min()))
        return lambda logits, wanted: loss_of(logits + offset(logits), wanted, smoothing)
    weights = _for_logits(torch.from_numpy(class_weights(recipe.imbalance, labels)).float(), 0.0)

    def weighted_loss(logits: Tensor, wanted: Tensor) -> Tensor:
        logits = _wide(logits)
        if wanted.ndim == 2:  # mixed
            wanted = F.pad(wanted, (0, logits.shape[1] - wanted.shape[1]))
        each = weights(logits)
        found = F.cross_entropy(logits, wanted, each, label_smoothing=smoothing, reduction="none")
        return found.mean()

    return weighted_loss


def _for_logits(known: Tensor, rest: float) -> Callable[[Tensor], Tensor]:
    """A number for each class of some logits, `rest` for those beyond the known, as they are and
    where they lie; sent there once."""

    @functools.cache
    def placed(classes: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        return send(F.pad(known, (0, classes - len(known)), value=rest), device, dtype)

    return lambda logits: placed(logits.shape[1], logits.device, logits.dtype)


def class_weights(remedy: str, labels: np.ndarray) -> np.ndarray:
    """The weight of each class up to the largest label, 0 of one without an image; their mean over
    the images is 1."""
    counts = np.bincount(labels).astype(np.float64)
    held = counts > 0
    found = np.zeros(len(counts))
    if remedy == "effective":
        rest = 1.0 - 1.0 / len(labels)
        found[held] = (1.0 - rest) / (1.0 - rest ** counts[held])
    else:
        found[held] = 1.0 / counts[held]
    weights: np.ndarray = found / (found @ counts) * len(labels)
    return weights


def evenly_drawn(
    indices: np.ndarray, labels: np.ndarray, recipe: Recipe, seed: int, epoch: int
) -> np.ndarray:
    """The rows of an epoch: as many as there are, each class as likely as any other; as they are
    where the recipe does not ask for that."""
    if recipe.imbalance != "sampler":
        return indices
    chance = class_weights("weighted", labels[indices])[labels[indices]]
    drawn = torch.multinomial(
        torch.from_numpy(chance), len(indices), replacement=True,
        generator=seeds.generator(seed, epoch, seeds.SAMPLER),
    )  # fmt: skip
    return np.asarray(indices[drawn.numpy()])


def corn_loss(logits: Tensor, grades: Tensor) -> Tensor:
    """The mean over all asked questions "above grade k, given above grade k - 1" of the binary
    cross entropy (Shi, Cao and Raschka 2023, eq. 7). logits: (batch, grades - 1)."""
    steps = torch.arange(logits.shape[1], device=logits.device)
    asked = grades[:, None] >= steps
    above = (grades[:, None] > steps).to(logits.dtype)
    wide = _wide(logits)
    each = F.binary_cross_entropy_with_logits(wide, above.to(wide), reduction="none")
    return each.masked_fill(~asked, 0.0).sum() / asked.sum()


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
