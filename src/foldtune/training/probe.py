"""Features that cannot change are computed once; a probe on them starts or is the classifier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.errors import InputError
from foldtune.training.batches import load_pixels
from foldtune.training.host import eval_mode

# Strength of the probe's ridge on standardised features; the default of scikit-learn.
_INVERSE_PENALTY = 1.0


def classifier_inputs(
    model: nn.Module,
    head: str,
    pixels: np.ndarray,
    indices: np.ndarray,
    prepare: Callable[[Tensor, torch.Generator | None], Tensor],
    batch_size: int = 256,
) -> np.ndarray:
    """What the module at path `head` is given for each of `indices`: (rows, channels) float32."""
    seen: list[Tensor] = []
    parameter = next(model.parameters())
    handle = model.get_submodule(head).register_forward_pre_hook(
        lambda _module, args: seen.append(args[0].detach().float().cpu())
    )
    try:
        with torch.no_grad(), eval_mode(model):
            for start in range(0, len(indices), batch_size):
                batch = load_pixels(pixels, indices[start : start + batch_size], parameter.device)
                model(prepare(batch, None))
    finally:
        handle.remove()
    features = torch.cat(seen)
    if features.ndim != 2:
        raise InputError(
            f"the classifier {head} is given {tuple(features.shape[1:])} an image; a probe needs "
            "one vector"
        )
    return features.numpy()


def solve_probe(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[Tensor, Tensor]:
    """Weight (classes, channels) and bias (classes,) of a ridge-regularised logistic regression.

    Features are standardised for the fit, and that is folded into the answer, so it applies to
    features as they are. Classes without an example get the lowest bias of the others.
    """
    from sklearn.linear_model import LogisticRegression

    mean, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    fitted = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000)
    fitted.fit((features - mean) / spread, labels)
    coefficients, intercept = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # one decision function: split it evenly between both classes
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weight = np.zeros((classes, features.shape[1]))
    bias = np.full(classes, intercept.min())
    weight[fitted.classes_] = coefficients / spread
    bias[fitted.classes_] = intercept - (coefficients / spread) @ mean
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
