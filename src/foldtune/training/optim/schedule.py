"""The learning rate of each step, as pure functions of the step."""

from __future__ import annotations

import math

from foldtune.training.recipe import Recipe


def warmup_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """How many steps the warm-up takes: the nearest whole number that leaves a step its peak."""
    wanted = round(recipe.warmup_epochs * steps_per_epoch)
    return min(wanted, recipe.epochs * steps_per_epoch - 1)


def learning_rate(step: int, steps_total: int, steps_warmup: int, recipe: Recipe) -> float:
    """The rate of step `step`, counted from 0: a straight warm-up, then half a cosine.

    Step 0 of a warm-up runs at `warmup_lr`, step `steps_warmup` at exactly `lr`, the last step at
    exactly `min_lr` (SGDR without restarts, Loshchilov and Hutter, ICLR 2017, eq. 5). A run whose
    warm-up takes all steps but one ends at its peak. The schedule "study-epoch" asks
    `study_epoch_rate` instead.
    """
    if recipe.schedule == "study-epoch":
        return study_epoch_rate(step * recipe.epochs // steps_total, recipe)
    if step < steps_warmup:
        return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * step / steps_warmup
    if step == steps_warmup:
        return recipe.lr
    if step >= steps_total - 1:
        return recipe.min_lr
    return _cosine((step - steps_warmup) / (steps_total - 1 - steps_warmup), recipe)


def study_epoch_rate(epoch: int, recipe: Recipe) -> float:
    """The rate of epoch `epoch`, counted from 0, in the unifying study's published runs.

    Their schedule changes once an epoch and is told the epoch after it ran: the first two epochs
    both run at `warmup_lr`, everything is one epoch late, the warm-up cuts into the cosine rather
    than preceding it, and so the peak is never reached: lr 1e-3 over 100 epochs, 10 of warm-up,
    gives at most 9.758e-4, in epoch 11. For reproducing published numbers only.
    """
    told = max(epoch - 1, 0)
    if told < recipe.warmup_epochs:
        return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * told / recipe.warmup_epochs
    return _cosine(told / recipe.epochs, recipe)


def _cosine(progress: float, recipe: Recipe) -> float:
    """Half a cosine from `lr` at progress 0 to `min_lr` at progress 1."""
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * progress)) / 2
