"""One number that makes confidences honest: logits are divided by it (Guo et al., ICML 2017)."""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

_ENDS = (math.log(0.05), math.log(20.0))


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of least negative log likelihood, from 0.05 to 20.

    logits: (images, classes) of images that were not trained on; labels: (images,). The likelihood
    has one minimum in it, so the classes that are predicted stay what they are.
    """
    wide = logits.double()

    def loss(log_temperature: float) -> float:
        return torch.nn.functional.cross_entropy(wide / math.exp(log_temperature), labels).item()

    found = minimize_scalar(loss, bounds=_ENDS, method="bounded", options={"xatol": 1e-4})
    return math.exp(float(found.x))
