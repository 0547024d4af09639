"""The classifier solved on features, for each task: where training starts, or all there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression, SingleLabel
from foldtune.tasks.task import Task
from foldtune.training.optim.objective import class_weights
from foldtune.training.probe import PENALTIES, Probe, solve_probe
from foldtune.training.recipe import NO_REMEDY

_FOLDS = 5
Groups = Sequence[str] | np.ndarray


def solve(
    task: Task,
    features: np.ndarray,
    targets: np.ndarray,
    outputs: int,
    C: float | None = None,
    groups: Groups = (),
    seed: int = 0,
    remedy: str = NO_REMEDY,
) -> Probe:
    """The probe of features (images, channels) for a task. C, groups, seed: see `solve_probe`.

    One label: multinomial, weighted where the recipe remedies unlike classes (evenly also where it
    draws evenly or adjusts logits: what it is then trained to). Several: a regression for each.
    Grades: one for each question of CORN. Numbers: ridge regression of the standardised number.
    """
    if isinstance(task, SingleLabel):
        weights = None
        if remedy != NO_REMEDY:
            weights = class_weights(remedy, targets)[targets]
        return solve_probe(features, targets, outputs, C, groups, seed, weights)
    if isinstance(task, Regression):
        return _ridge(task, features, targets, C, groups)
    if isinstance(task, Ordinal):
        asked = [(targets >= k, targets > k) for k in range(outputs - 1)]
    else:
        assert isinstance(task, MultiLabel)
        whole = np.ones(len(targets), bool)
        asked = [(whole, targets[:, k] > 0) for k in range(outputs)]
    found = [_question(features, held, yes, C, groups, seed) for held, yes in asked]
    known = [one.nll for one in found if one.nll is not None]
    return Probe(
        torch.cat([one.weight for one in found]), torch.cat([one.bias for one in found]),
        float(np.exp(np.mean([np.log(one.C) for one in found]))),
        float(np.mean(known)) if known else None,
    )  # fmt: skip


def _question(
    features: np.ndarray, held: np.ndarray, yes: np.ndarray, C: float | None, groups: Groups,
    seed: int,
) -> Probe:  # fmt: skip
    """One output, the logit of `yes` among the images that are `held`."""
    own = yes[held].astype(np.int64)
    if len(np.unique(own)) < 2:
        # Nothing to learn from: the share, kept from 0 and 1, whatever the image.
        share = (own.sum() + 0.5) / (len(own) + 1)
        weight = torch.zeros(1, features.shape[1])
        return Probe(weight, torch.tensor([np.log(share / (1 - share))]).float(), C or PENALTIES[0])
    members = np.asarray(groups)[held] if len(groups) else ()
    two = solve_probe(features[held], own, 2, C, members, seed)
    return Probe(two.weight[1:] - two.weight[:1], two.bias[1:] - two.bias[:1], two.C, two.nll)


def _ridge(
    task: Regression, features: np.ndarray, targets: np.ndarray, C: float | None, groups: Groups
) -> Probe:
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.model_selection import GroupKFold

    if C is not None and not 0 < C < np.inf:
        raise InputError(f"the inverse penalty C of a probe must be a positive number, not {C}")
    centre = features.mean(0, dtype=np.float64)
    scaled = features - centre
    scale = np.sqrt(np.mean(scaled**2)) or 1.0
    scaled /= scale
    wanted = (targets.astype(np.float64) - task.mean) / task.std
    if C is None:
        many = len(np.unique(np.asarray(groups))) if len(groups) else 0
        parts = (
            list(GroupKFold(min(_FOLDS, many)).split(scaled, groups=groups)) if many > 1 else None
        )
        chosen = RidgeCV([1 / one for one in PENALTIES], cv=parts).fit(scaled, wanted)
        C = 1 / float(getattr(chosen, "alpha_", 1.0))
    fitted = Ridge(1 / C).fit(scaled, wanted)
    weight = np.asarray(fitted.coef_, np.float64).reshape(1, -1) / scale
    bias = np.atleast_1d(fitted.intercept_) - weight @ centre
    return Probe(torch.from_numpy(weight).float(), torch.from_numpy(bias).float(), C)
