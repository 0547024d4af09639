"""Features that cannot change are computed once; a probe on them starts or is the classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.core.structure.probe import eval_mode
from foldtune.errors import InputError
from foldtune.training.batches import load_pixels

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# Penalties that are tried, strongest first, in steps of half a decade.
PENALTIES = tuple(float(f"{10 ** (power / 2):.2g}") for power in range(-8, 5))
FOLDS = 5
# Where no class has two images nothing can be held out; C hardly moves accuracy with so few
# (benchmarks/probe_table.py).
DEFAULT = 0.1
# Of a probe that a training starts from. The penalty that is likeliest still fits all of few
# training images (loss 0.009 on lite0, 8 images a class): from there gradients vanish, and logits
# only grow. At this one the loss is 0.2 to 1, and accuracy hardly lower (docs/findings.md).
REGULARISED = 0.01
_MOST = 4000  # images on which the penalty is chosen; solved is on all
_PATIENCE = 2  # penalties in a row that are worse than the best so far before the search ends
_STEPS = 1000  # of L-BFGS
_SMALL = 10**8  # products of a step that one thread makes in less than a tenth of a second


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
    if features.ndim == 4 and features.shape[2:].numel() == 1:  # before a 1x1 convolution
        features = features.flatten(1)
    if features.ndim != 2:
        raise InputError(
            f"the classifier {head} is given {tuple(features.shape[1:])} an image; a probe needs "
            "one vector"
        )
    return features.numpy()


@dataclass(frozen=True)
class Probe:
    """A linear classifier of features as they are: weight (classes, channels), bias (classes,).

    C: the inverse strength of its penalty, as scikit-learn has it: the sum of the losses counts C
    times beside half the squared norm of the weights, of features on one common scale. nll: the
    held-out loss an image in nats that chose C; None where C was given, or nothing could be held
    out.
    """

    weight: Tensor
    bias: Tensor
    C: float
    nll: float | None = None


def solve_probe(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    C: float | None = None,
    groups: Sequence[str] | np.ndarray = (),
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> Probe:
    """The probe of features (images, channels) and labels (images,).

    All channels are divided by one number, the root of their mean variance: a scale of its own for
    each would give channels that are rare among few images huge weights. C=None: chosen by the
    likelihood of held-out images, see `chosen_penalty`. weights: what each image counts, (images,).
    Classes without an example get the lowest
    bias of the others. The same arguments give the same probe. Raises InputError for a C that is no
    positive number, and for images of one class alone.
    """
    if C is not None and not 0 < C < np.inf:
        raise InputError(f"the inverse penalty C of a probe must be a positive number, not {C}")
    if len(np.unique(labels)) < 2:
        raise InputError("a probe needs images of two classes or more; these are all of one")
    centre = features.mean(0, dtype=np.float64)
    scaled = features - centre
    scale = np.sqrt(np.mean(scaled**2)) or 1.0
    scaled /= scale
    rotation = None
    if len(scaled) < scaled.shape[1]:
        # Weights lie in the span of the images, so as many channels as images are exact.
        rotation, triangle = np.linalg.qr(scaled.T)
        scaled = np.ascontiguousarray(triangle.T)
    nll = None
    with _few_threads(scaled.size * classes):
        if C is None:
            C, nll = chosen_penalty(scaled, labels, groups, seed, weights)
        fitted = _regression(C).fit(scaled, labels, weights)
    weight, bias = _even(fitted)
    if rotation is not None:
        weight = weight @ rotation.T
    weight = weight / scale
    every, offsets = np.zeros((classes, features.shape[1])), np.full(classes, bias.min())
    every[fitted.classes_], offsets[fitted.classes_] = weight, bias
    offsets -= every @ centre
    return Probe(torch.from_numpy(every).float(), torch.from_numpy(offsets).float(), C, nll)


def chosen_penalty(
    features: np.ndarray, labels: np.ndarray, groups: Sequence[str] | np.ndarray, seed: int,
    weights: np.ndarray | None = None,
) -> tuple[float, float | None]:  # fmt: skip
    """The C of `PENALTIES` with the least mean held-out loss, and that loss.

    features: (images, channels), scaled; five folds, or fewer, see `folds`; on 4,000 images drawn
    by the seed where there are more. `DEFAULT` and None where nothing can be held out. From the
    strongest penalty on, each fit starting from that before; the search ends where two in a row
    are worse than the best: weaker ones only fit the noise more, and take longest.
    """
    draw = np.random.default_rng(seed)
    if len(labels) > _MOST:
        kept = np.sort(draw.permutation(len(labels))[:_MOST])
        features, labels = features[kept], labels[kept]
        groups = np.asarray(groups)[kept] if len(groups) else groups
        weights = None if weights is None else weights[kept]
    fold = folds(labels, groups, draw)
    if fold is None:
        return DEFAULT, None
    judges = [_Fold(features, labels, fold != n, weights) for n in range(fold.max() + 1)]
    losses: list[float] = []
    for C in PENALTIES:
        each = np.concatenate([judge.losses(C) for judge in judges])
        held = np.concatenate([judge.counts for judge in judges])
        losses.append(float(each.mean() if weights is None else np.average(each, weights=held)))
        best = int(np.argmin(losses))
        if len(losses) - 1 - best >= _PATIENCE:
            break
    return PENALTIES[best], losses[best]


def folds(
    labels: np.ndarray, groups: Sequence[str] | np.ndarray, draw: np.random.Generator
) -> np.ndarray | None:
    """The fold of each image, from 0; None where nothing can be held out.

    As many as the rarest class has images, at least two and at most five. Each class is dealt
    evenly; a group goes whole to the fold that is smallest, the largest groups first.
    """
    counts = np.bincount(labels)
    if counts.max() < 2:
        return None
    number = int(np.clip(counts[counts > 0].min(), 2, FOLDS))
    found = np.empty(len(labels), np.int64)
    if len(groups):
        names, members = np.unique(np.asarray(groups), return_inverse=True)
        if len(names) < 2:
            return None
        number, sizes = min(number, len(names)), np.bincount(members)
        held = np.zeros(number, np.int64)
        for group in sorted(draw.permutation(len(names)).tolist(), key=lambda g: -sizes[g]):
            smallest = int(held.argmin())
            found[members == group], held[smallest] = smallest, held[smallest] + sizes[group]
        return found
    start = 0
    for label in range(len(counts)):
        own = draw.permutation(np.flatnonzero(labels == label))
        found[own] = (start + np.arange(len(own))) % number
        start += len(own)
    return found


class _Fold:
    """Images to fit and images to judge, with the fit that the next penalty starts from."""

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, fitting: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self._features, self._labels = features[fitting], labels[fitting]
        self._weights = None if weights is None else weights[fitting]
        # Nobody can tell a class that was not shown.
        judged = ~fitting & np.isin(labels, self._labels)
        self._held, self._truth = features[judged], labels[judged]
        self.counts = np.ones(int(judged.sum())) if weights is None else weights[judged]
        self._model = _regression(1.0)

    def losses(self, C: float) -> np.ndarray:
        """The loss of each held-out image."""
        if len(np.unique(self._labels)) < 2:
            return np.zeros(len(self._truth))
        self._model.set_params(C=C)
        self._model.fit(self._features, self._labels, self._weights)
        told = self._model.predict_log_proba(self._held)
        rows, columns = np.arange(len(told)), np.searchsorted(self._model.classes_, self._truth)
        lost: np.ndarray = -told[rows, columns]
        return lost


@contextmanager
def _few_threads(products: int) -> Iterator[None]:
    """One thread for linear algebra inside, where a step of the solver makes few products: several
    wait for each other at each of thousands of small ones, and by far longest where other work has
    the cores."""
    import sklearn.linear_model  # noqa: F401  (brings SciPy's library, which has threads of its own)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1 if products < _SMALL else None, user_api="blas"):
        yield


def _regression(C: float) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, max_iter=_STEPS, warm_start=True)


def _even(fitted: LogisticRegression) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases, a row for each class that was seen."""
    weight, bias = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # one decision function: split it evenly between both classes
        weight = np.concatenate([-weight, weight]) / 2
        bias = np.concatenate([-bias, bias]) / 2
    return weight, bias
