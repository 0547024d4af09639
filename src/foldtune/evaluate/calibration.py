"""How far the model's confidence can be believed."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from foldtune.evaluate.accuracy import check_logits

BINS = 15


def calibration(logits: Tensor, labels: Tensor) -> Iterator[tuple[str, float]]:
    """Yield `nll`, `brier` and `ece` of the softmax of logits (images, classes).

    nll: the mean of -log p(label), in nats. brier: the mean over images of the squared distance
    between the probabilities and the label's one-hot vector, from 0 to 2 (Brier, 1950). ece: the
    expected calibration error over 15 bins of equal width of the largest probability, weighted by
    their images (Guo et al., ICML 2017, eq. 3), from 0 to 1.
    """
    check_logits(logits, labels)
    logits = logits.double()
    probabilities = logits.softmax(1)
    yield "nll", F.cross_entropy(logits, labels).item()
    wrong = probabilities - F.one_hot(labels, logits.shape[1])
    yield "brier", wrong.square().sum(1).mean().item()
    # Imported here: torchmetrics takes 2.6 s to import (1.8).
    from torchmetrics.functional.classification import multiclass_calibration_error

    error = multiclass_calibration_error(probabilities, labels, logits.shape[1], n_bins=BINS)
    yield "ece", error.item()
