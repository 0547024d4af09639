"""How far the model's confidence can be believed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from foldtune.evaluate.accuracy import check_logits
from foldtune.torchvision_ops import declare_missing_operators

BINS = 15


def calibration(logits: Tensor, labels: Tensor) -> Iterator[tuple[str, float]]:
    """Yield `nll`, `brier`, `ece` and `aurc` of the softmax of logits (images, classes).

    nll: the mean of -log p(label), in nats. brier: the mean over images of the squared distance
    between the probabilities and the label's one-hot vector, from 0 to 2 (Brier, 1950). ece: the
    expected calibration error over 15 bins of equal width of the largest probability, weighted by
    their images (Guo et al., ICML 2017, eq. 3), from 0 to 1. aurc: see `risk_coverage`.
    """
    check_logits(logits, labels)
    logits = logits.double()
    probabilities = logits.softmax(1)
    yield "nll", F.cross_entropy(logits, labels).item()
    wrong = probabilities - F.one_hot(labels, logits.shape[1])
    yield "brier", wrong.square().sum(1).mean().item()
    # Imported here: torchmetrics takes 2.6 s to import (1.8), and it imports torchvision.
    declare_missing_operators()
    from torchmetrics.functional.classification import multiclass_calibration_error

    error = multiclass_calibration_error(probabilities, labels, logits.shape[1], n_bins=BINS)
    yield "ece", error.item()
    yield "aurc", risk_coverage(logits, labels).mean().item()


def risk_coverage(logits: Tensor, labels: Tensor) -> Tensor:
    """The error among the n images of the largest max softmax, for n = 1 to all: (images,) float64.

    Its mean is the area under the risk-coverage curve (Geifman et al., ICLR 2019), from 0 to 1;
    its last value is the error rate. Images of equal confidence count with their mean error, so
    that the order of the files decides nothing.
    """
    check_logits(logits, labels)
    logits = logits.double()
    wrong = (logits.argmax(1) != labels).double()
    # Summation order differs between rows of equal logits, in the last digits only.
    confidence = logits.softmax(1).amax(1).float()
    _, tied, sizes = confidence.unique(return_inverse=True, return_counts=True)
    shared = (torch.zeros(len(sizes)).double().index_add_(0, tied, wrong) / sizes)[tied]
    ordered = shared[confidence.argsort(descending=True)]
    return ordered.cumsum(0) / torch.arange(1, len(ordered) + 1)
