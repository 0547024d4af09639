"""How far the model's confidence can be believed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from foldtune.judging.accuracy import check_logits
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
    # Summation order differs between rows of equal logits, in the last digits only.
    return risk_by_confidence(logits.softmax(1).amax(1).float(), logits.argmax(1) != labels)


def risk_by_confidence(confidence: Tensor, wrong: Tensor) -> Tensor:
    """As `risk_coverage`, of confidences (images,) and whether each image's class is wrong."""
    wrong = wrong.double()
    _, tied, sizes = confidence.unique(return_inverse=True, return_counts=True)
    shared = (torch.zeros(len(sizes)).double().index_add_(0, tied, wrong) / sizes)[tied]
    ordered = shared[confidence.argsort(descending=True)]
    risk: Tensor = ordered.cumsum(0) / torch.arange(1, len(ordered) + 1)
    return risk


def reliability(confidence: Tensor, wrong: Tensor) -> list[dict[str, float]]:
    """Of each of 15 bins of equal width of confidence, as `ece` has them: how many images, their
    mean confidence and accuracy (0 of an empty one)."""
    # Bins are open to the left, (0, 1/15] first, as in the paper.
    edges = torch.linspace(0, 1, BINS + 1)
    which = (torch.bucketize(confidence, edges) - 1).clamp(0, BINS - 1)
    images = torch.bincount(which, minlength=BINS).double()
    held = images.clamp_min(1)
    sure = torch.bincount(which, confidence.double(), minlength=BINS) / held
    right = torch.bincount(which, (~wrong).double(), minlength=BINS) / held
    columns = (images.tolist(), sure.tolist(), right.tolist())
    return [
        {"images": int(n), "confidence": c, "accuracy": a} for n, c, a in zip(*columns, strict=True)
    ]
