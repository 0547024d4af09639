"""Linear probes with many learning rates and decays, trained together on cached features."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.errors import InputError
from foldtune.training.batches import Data, epoch_batches, steps_per_epoch
from foldtune.training.loop import FINISHED, Outcome
from foldtune.training.losses import Diverged
from foldtune.training.recipe import Recipe
from foldtune.training.schedule import learning_rate, warmup_steps

# Told the epoch and the probes as they stand; returns what joins each one's curve.
EvaluateAll = Callable[[int, Tensor, Tensor], Sequence[dict]]

_EPS = 1e-8  # of AdamW, torch's default


@dataclass(frozen=True, eq=False)
class Probes:
    """Trained classifiers. outcomes: one of each recipe; weight: (recipes, classes, channels);
    bias: (recipes, classes)."""

    outcomes: tuple[Outcome, ...]
    weight: Tensor
    bias: Tensor


def trains_together(recipe: Recipe) -> Recipe | None:
    """What recipes must share to be trained together; None where one must be trained alone."""
    alone = (
        recipe.mixup or recipe.cutmix or recipe.augment or recipe.phases or recipe.ema
        or recipe.clip_norm or recipe.drop_path or recipe.precision != "fp32" or recipe.compile
    )  # fmt: skip
    if alone:
        return None
    return replace(recipe, lr=1.0, weight_decay=0.0, min_lr=0.0, warmup_lr=0.0)


def is_probe(head: nn.Module) -> bool:
    """Whether the classifier is a plain linear layer, as `train_probes` trains it."""
    plain = type(head) is nn.Linear and head.bias is not None
    return plain and head.weight.dtype == torch.float32


def train_probes(
    data: Data,
    recipes: Sequence[Recipe],
    start: tuple[Tensor, Tensor],
    *,
    seed: int,
    evaluate: EvaluateAll | None = None,
) -> Probes:
    """Train one linear classifier for each recipe on the same features, in the same order.

    data: with features (images, channels) float32 in the place of pixels; start: weight (classes,
    channels) and bias (classes,), of every one. The recipes differ in lr, weight_decay, min_lr and
    warmup_lr alone. Each batch is one product over (recipes, features, classes); each classifier is
    within rounding what `train` makes of an nn.Linear, and on a CPU the same bits whatever others
    are trained beside it. One whose loss leaves the finite numbers ends with that verdict, the
    others go on. Raises InputError for recipes that cannot be trained together.
    """
    shared = [trains_together(recipe) for recipe in recipes]
    if None in shared or any(one != shared[0] for one in shared):
        raise InputError(
            "these recipes cannot be trained together: they may differ in lr, weight_decay, "
            "min_lr and warmup_lr alone, with no mixup, cutmix, augment, phases, ema, clip_norm, "
            "drop_path, compile or half precision; train them one by one"
        )
    if data.pixels.ndim != 2:
        raise InputError("probes are trained on cached features, not on images")
    if data.classes > start[0].shape[0]:
        raise InputError(
            f"the labels count {data.classes} classes, the classifiers {start[0].shape[0]}"
        )
    return _Grid(data, recipes, start, seed).all_epochs(evaluate)


class _Grid:
    """All classifiers in one tensor (recipes, classes, channels + 1), the bias last."""

    def __init__(
        self, data: Data, recipes: Sequence[Recipe], start: tuple[Tensor, Tensor], seed: int
    ) -> None:
        self.data, self.recipes, self.seed, self.first = data, recipes, seed, recipes[0]
        self.steps = steps_per_epoch(len(data.indices), self.first)
        device = start[0].device
        features = torch.from_numpy(data.pixels[data.indices]).to(device)
        self.inputs = F.pad(features, (0, 1), value=1.0)
        self.labels = torch.from_numpy(data.labels[data.indices]).long().to(device)
        whole = torch.cat([start[0], start[1][:, None]], 1).detach().float()
        self.weights = whole.expand(len(recipes), *whole.shape).clone()
        self.moments = [torch.zeros_like(self.weights) for _ in range(2)]
        total = self.first.epochs * self.steps
        self.rates = [
            [learning_rate(s, total, warmup_steps(r, self.steps), r) for s in range(total)]
            for r in recipes
        ]
        self.table = torch.tensor(self.rates, device=device).T[..., None, None]
        decay = torch.tensor([r.weight_decay for r in recipes], device=device)[:, None, None]
        columns = torch.ones(whole.shape[1], device=device)
        if not self.first.decay_1d:
            columns[-1] = 0
        self.decay = decay * columns
        place = {row: i for i, row in enumerate(data.indices.tolist())}
        self.place = torch.tensor([place.get(row, 0) for row in range(len(data.pixels))])

    def all_epochs(self, evaluate: EvaluateAll | None) -> Probes:
        count = len(self.recipes)
        curves: list[list[dict]] = [[] for _ in range(count)]
        verdicts: dict[int, str] = {}
        spent = 0.0
        for epoch in range(1, self.first.epochs + 1):
            started = time.perf_counter()
            losses = self.epoch(epoch)
            seconds = (time.perf_counter() - started) / count
            weight, bias = self.weights[..., :-1], self.weights[..., -1]
            told = evaluate(epoch, weight, bias) if evaluate else [{}] * count
            spent += (time.perf_counter() - started) / count
            for i in range(count):
                if i in verdicts:
                    continue
                try:
                    mean = self.mean(i, losses[i])
                except Diverged as stop:
                    verdicts[i] = stop.verdict(self.recipes[i], epoch, self.steps)
                    continue
                curves[i].append({
                    "epoch": epoch, "loss": mean, "lr": self.rates[i][epoch * self.steps - 1],
                    "seconds": seconds, "images_per_second": losses.shape[1] / seconds, **told[i],
                })  # fmt: skip
            if len(verdicts) == count:
                break
        outcomes = tuple(
            Outcome(tuple(curve), verdicts.get(i, FINISHED), spent)
            for i, curve in enumerate(curves)
        )
        weight, bias = self.weights[..., :-1], self.weights[..., -1]
        return Probes(outcomes, weight.contiguous(), bias.contiguous())

    def epoch(self, epoch: int) -> Tensor:
        """Train one epoch; the loss of each image as it was seen, (recipes, images)."""
        seen = []
        batches = epoch_batches(self.data.indices, self.first, self.seed, epoch)
        for step, rows in enumerate(batches, start=(epoch - 1) * self.steps):
            own = self.place[torch.from_numpy(rows)].to(self.labels.device)
            loss, gradient = self.gradient(self.inputs[own], self.labels[own])
            seen.append(loss)
            self.move(gradient, step)
        return torch.cat(seen, 1)

    def gradient(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each image (recipes, batch), and the gradient of their mean."""
        count, (batch, _), classes = len(self.recipes), inputs.shape, self.weights.shape[1]
        # Products of their own for each recipe: their bits do not depend on how many there are.
        # The images come last: a softmax over a last axis of few classes is seven times slower.
        logits = torch.bmm(self.weights, inputs.T.expand(count, -1, -1))
        log_shares = logits.log_softmax(1)
        target = F.one_hot(labels, classes).to(logits.dtype).T
        if self.first.label_smoothing:
            smooth = self.first.label_smoothing
            target = target * (1 - smooth) + smooth / classes
            loss = -(log_shares * target).sum(1)
        else:
            loss = -log_shares.gather(1, labels.expand(count, 1, -1))[:, 0]
        slope = log_shares.exp_().sub_(target).div_(batch)
        return loss, torch.bmm(slope, inputs.expand(count, -1, -1))

    def move(self, gradient: Tensor, step: int) -> None:
        """One step of the optimizer, as torch's AdamW and SGD take it."""
        rate, recipe = self.table[step], self.first
        mean, square = self.moments
        if recipe.optimizer == "sgd":
            gradient = gradient + self.decay * self.weights
            mean.mul_(recipe.momentum).add_(gradient)
            self.weights.sub_(rate * mean)
            return
        one, two = recipe.betas
        self.weights.mul_(1 - rate * self.decay)
        mean.lerp_(gradient, 1 - one)
        square.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        spread = square.sqrt().div_(math.sqrt(1 - two ** (step + 1))).add_(_EPS)
        self.weights.sub_(mean.div(spread).mul_(rate / (1 - one ** (step + 1))))

    def mean(self, i: int, losses: Tensor) -> float:
        """One recipe's mean loss of an epoch. Raises Diverged."""
        mean = losses.double().mean().item()
        if not math.isfinite(mean):
            bad = int((~losses.isfinite()).nonzero()[0])
            raise Diverged(f"loss is {losses[bad].item()}", bad // self.first.batch_size + 1)
        if not bool(self.weights[i].isfinite().all()):
            raise Diverged("parameter weight is not finite", self.steps)
        return mean
