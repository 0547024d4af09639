"""How often the model is right."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from foldtune.errors import InputError


def accuracy(logits: Tensor, labels: Tensor) -> Iterator[tuple[str, float]]:
    """Yield `top1`, `top5` for more than five classes, and `per_class`; shares from 0 to 1.

    logits: (images, classes); labels: (images,). `per_class` is the mean over the classes that
    occur in `labels` of the share of their images that are right. Raises InputError as
    `check_logits` does.
    """
    check_logits(logits, labels)
    right = logits.argmax(1) == labels
    yield "top1", right.double().mean().item()
    if logits.shape[1] > 5:
        five = (logits.topk(5, dim=1).indices == labels[:, None]).any(1)
        yield "top5", five.double().mean().item()
    counts = torch.bincount(labels)
    shares = torch.bincount(labels, weights=right.double())[counts > 0] / counts[counts > 0]
    yield "per_class", shares.mean().item()


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Refuse what would give a plausible but meaningless number; InputError says what it is.

    A logit of minus infinity is allowed: it rules a class out.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise InputError(
            f"logits have shape {tuple(logits.shape)}, labels {tuple(labels.shape)}; "
            "(images, classes) and (images,) are needed, at least one image"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise InputError(
            f"labels run from {labels.min()} to {labels.max()}; "
            f"the logits know classes 0 to {logits.shape[1] - 1}"
        )
    if logits.isnan().any():
        raise InputError("logits hold nan: the model has diverged, or its input was not finite")
