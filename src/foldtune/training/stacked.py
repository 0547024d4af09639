"""Many trainings of one model at once, which differ in learning rate and weight decay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.errors import InputError
from foldtune.training import seeds
from foldtune.training.batches import Data, Prepare, epoch_batches, prepare_at, steps_per_epoch
from foldtune.training.checkpoint import (
    Pace,
    Training,
    identity_of,
    read_checkpoint,
    write_checkpoint,
)
from foldtune.training.curve import Entry, epochs_trained, joined_entry
from foldtune.training.device import prepare_model
from foldtune.training.host import least_images, lend_model, train_mode
from foldtune.training.loop import FINISHED, Outcome
from foldtune.training.optim.losses import Diverged, look_every
from foldtune.training.optim.optimizer import trainable
from foldtune.training.optim.schedule import learning_rate, warmup_steps
from foldtune.training.recipe import Recipe
from foldtune.training.regularise import losses_of, mixer
from foldtune.training.speed.resident import kept_on
from foldtune.training.stack import RowOptimizer, Stack, common, flatten_all

# Given an epoch, the stack in eval mode and its trials' numbers; gives what joins each one's curve.
Judge = Callable[[int, Stack, Sequence[int]], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Trained:
    """What `train` gives for one recipe, and the tensors by name that it would leave in the model.

    The seconds of outcome and curve are those of all trials, shared out evenly.
    """

    outcome: Outcome
    tensors: dict[str, Tensor]


def train_stacked(
    model: nn.Module,
    pixels: np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    recipes: Sequence[Recipe],
    *,
    prepare: Prepare,
    seed: int,
    head: Collection[str] = (),
    judge: Judge | None = None,
    checkpoints: Sequence[Path] = (),
    checkpoint_seconds: float = 0.0,
    device: str | None = None,
) -> list[Trained]:
    """What `train` gives for each of the recipes, from one pass a step over shared batches.

    The arguments are `train`'s. The recipes differ in lr, warmup_lr, min_lr and weight_decay only;
    all trials start from the model's tensors and see the same batches. Equal to `train` within
    rounding: sums are taken in another order. A trial that leaves the finite numbers is taken out;
    the others go on. checkpoints: a file for each, as `train` writes and reads them, all of the
    same epoch, else all start anew; written after each epoch, or by the clock. The model's tensors
    are left alone.
    Raises InputError for recipes that do not go together and for a model that cannot be stacked.
    """
    data = Data(pixels, labels, indices)
    if not recipes or len({common(recipe) for recipe in recipes}) > 1:
        raise InputError(
            "a stack takes recipes, at least one, that differ in rates and decay alone"
        )
    if checkpoints and len(checkpoints) != len(recipes):
        raise InputError(f"{len(checkpoints)} checkpoints for {len(recipes)} recipes; one for each")
    with prepare_model(model, "fp32", device) as at, lend_model(model, recipes[0], at.device):
        if at.accelerator.num_processes > 1:
            raise InputError("a stack trains in one process; start it without torchrun")
        before = flatten_all([p.detach() for p in trainable(model).values()])
        stack = Stack(model, len(recipes))
        try:
            run = _Run(stack, data, recipes, checkpoints, prepare, seed, at.device, head)
            return run.all_epochs(judge, Pace(recipes[0].epochs, 1, checkpoint_seconds))
        finally:
            stack.put(before)


@dataclass
class _Trial:
    """One row's own: `number` among the recipes, and what it has come to."""

    number: int
    recipe: Recipe
    checkpoint: Path | None
    curve: list[Entry] = field(default_factory=list)
    seconds: float = 0.0
    verdict: str = FINISHED
    tensors: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)  # of the epoch under way, as far as read


class _Run:
    """The steps over a stack; `alive` are its rows in their order."""

    def __init__(
        self,
        stack: Stack,
        data: Data,
        recipes: Sequence[Recipe],
        checkpoints: Sequence[Path],
        prepare: Prepare,
        seed: int,
        device: torch.device,
        head: Collection[str],
    ) -> None:
        self.stack, self.data, self.recipe = stack, data, recipes[0]
        self.prepare, self.seed, self.device = prepare, seed, device
        self.source = kept_on(data, device)
        self.every = look_every(device)
        self.waiting: list[Tensor] = []  # losses of steps that are not yet read, (alive,) each
        self.optimizer = RowOptimizer(stack, recipes, head)
        self.least = least_images(stack)
        self.steps = steps_per_epoch(len(data.indices), self.recipe, least=self.least)
        self.warmup = warmup_steps(self.recipe, self.steps)
        self.mixer = mixer(self.recipe, data.classes)
        paths: Sequence[Path | None] = checkpoints or [None] * len(recipes)
        self.trials = [_Trial(i, r, p) for i, (r, p) in enumerate(zip(recipes, paths, strict=True))]
        self.alive = list(self.trials)

    def all_epochs(self, judge: Judge | None, pace: Pace) -> list[Trained]:
        done = self._resume()
        if judge is not None and done == 0:
            self._judge_start(judge)
        for epoch in range(done + 1, self.recipe.epochs + 1):
            if not self.alive:
                break
            started, begun = time.perf_counter(), list(self.alive)
            self._epoch(epoch)
            self.stack.eval()
            entries = judge(epoch, self.stack, [t.number for t in self.alive]) if judge else None
            for trial in begun:
                trial.seconds += (time.perf_counter() - started) / len(begun)
            for row, trial in enumerate(self.alive):
                if entries is not None:
                    trial.curve[-1] = joined_entry(trial.curve[-1], entries[row])
            if pace.due(epoch):
                for row, trial in enumerate(self.alive):
                    self._write(row, trial)
                pace.restart()
        for row, trial in enumerate(self.alive):
            self._leave(row, trial)
        return [
            Trained(Outcome(tuple(t.curve), t.verdict, t.seconds), t.tensors) for t in self.trials
        ]

    def _judge_start(self, judge: Judge) -> None:
        """The entry of epoch 0, as the loop makes it."""
        started = time.perf_counter()
        self.stack.eval()
        starts = judge(0, self.stack, [trial.number for trial in self.trials])
        for trial, start in zip(self.trials, starts, strict=True):
            trial.seconds += (time.perf_counter() - started) / len(self.trials)
            trial.curve = [joined_entry({"epoch": 0}, start)] if start else []

    def _epoch(self, epoch: int) -> None:
        started, images = time.perf_counter(), []
        generator = seeds.generator(self.seed, epoch, seeds.PREPARE)
        prepare = prepare_at(self.prepare, self.recipe.side(epoch))
        train_mode(self.stack)
        self.waiting = []
        for trial in self.trials:
            trial.losses = []
        with seeds.seeded_model(self.seed, epoch, self.device):
            batches = epoch_batches(
                self.data.indices, self.recipe, self.seed, epoch, least=self.least
            )
            for rows in self.data.ahead(batches):
                batch, targets = self.source.load(rows, self.device)
                images.append(len(rows))
                step = (epoch - 1) * self.steps + len(images) - 1
                self._step(prepare(batch, generator), targets, epoch, step)
                if not self.alive:
                    return
        if self.waiting:
            self._drop(self._look(), epoch, _loss_not_finite)
        self._drop(torch.isfinite(self.stack.values).all(1).tolist(), epoch, self._not_finite)
        seconds = (time.perf_counter() - started) / max(1, len(self.alive))
        for trial, lr in zip(self.alive, self._rates(epoch * self.steps - 1), strict=True):
            weighted = (x * n for x, n in zip(trial.losses, images, strict=True))
            entry: Entry = {"epoch": epoch, "loss": math.fsum(weighted) / sum(images), "lr": lr}
            entry |= {"seconds": seconds, "images_per_second": sum(images) / seconds}
            trial.curve.append(entry)

    def _step(self, images: Tensor, targets: Tensor, epoch: int, step: int) -> None:
        if self.mixer is not None:
            images, targets = self.mixer(images, targets)
        logits = self.stack(images).unflatten(1, (len(self.alive), -1))
        classes = self.data.classes
        if logits.shape[-1] < classes:
            raise InputError(
                f"the labels count {classes} classes, the model's head {logits.shape[-1]}"
            )
        losses = losses_of(logits, targets, self.recipe.label_smoothing)
        self.waiting.append(losses.detach())
        finite = self._look() if len(self.waiting) >= self.every else [True] * len(self.alive)
        if not any(finite):
            self._drop(finite, epoch, _loss_not_finite)
            return
        # What is not finite stays in its own rows: no trial's loss touches another's.
        told = losses if all(finite) else losses[finite]  # a mask would be waited for
        (gradient,) = torch.autograd.grad(told.sum(), self.stack.values)
        if not all(finite):
            gradient = gradient[finite]
            self._drop(finite, epoch, _loss_not_finite)
        self.optimizer.step(gradient, self._rates(step))

    def _look(self) -> list[bool]:
        """Read the losses that wait, with one wait for the device; which rows' are all finite. Of
        one that is not the first such loss is the last that its trial has."""
        for values in torch.stack(self.waiting).tolist():
            for trial, value in zip(self.alive, values, strict=True):
                if not trial.losses or math.isfinite(trial.losses[-1]):
                    trial.losses.append(value)
        self.waiting.clear()
        return [math.isfinite(trial.losses[-1]) for trial in self.alive]

    def _rates(self, step: int) -> list[float]:
        """The rate of each trial that is alive; a grid has many of the same."""
        total, known = self.recipe.epochs * self.steps, {}
        for recipe in (trial.recipe for trial in self.alive):
            kind = (recipe.lr, recipe.warmup_lr, recipe.min_lr)
            if kind not in known:
                known[kind] = learning_rate(step, total, self.warmup, recipe)
        return [known[t.recipe.lr, t.recipe.warmup_lr, t.recipe.min_lr] for t in self.alive]

    def _drop(
        self, good: Sequence[bool], epoch: int, told: Callable[[int, _Trial], Diverged]
    ) -> None:
        """Take the rows that are not good out of the stack, each with its verdict."""
        if all(good):
            return
        for row, trial in enumerate(self.alive):
            if not good[row]:
                self._leave(row, trial)
                trial.verdict = told(row, trial).verdict(trial.recipe, epoch, self.steps)
        kept = [row for row, is_good in enumerate(good) if is_good]
        self.alive = [self.alive[row] for row in kept]
        self.stack.keep(kept)
        self.optimizer.keep(kept)

    def _not_finite(self, row: int, trial: _Trial) -> Diverged:
        parts = self.stack.parts(self.stack.values[row])
        name = next(n for n, part in parts.items() if not torch.isfinite(part).all())
        return Diverged(f"parameter {name} is not finite", len(trial.losses))

    def _leave(self, row: int, trial: _Trial) -> None:
        trial.tensors = self.stack.parts(self.stack.values[row].detach().clone())

    def _write(self, row: int, trial: _Trial) -> None:
        if trial.checkpoint is not None:
            self.stack.put(self.stack.values[row])
            training = self._training(row, trial)
            write_checkpoint(trial.checkpoint, training, trial.curve, trial.seconds)

    def _resume(self) -> int:
        """Take all checkpoints in; the epochs that they have, 0 where they differ in that."""
        start = self.stack.values.detach().clone()
        for row, trial in enumerate(self.trials):
            if trial.checkpoint is None or not trial.checkpoint.exists():
                continue
            training = self._training(row, trial)
            if read := read_checkpoint(trial.checkpoint, training):
                trial.curve, trial.seconds = read
                self.stack.take(row)
                done = epochs_trained(trial.curve)
                self.optimizer.take(row, training.optimizer, done * self.steps)
        epochs = {epochs_trained(trial.curve) for trial in self.trials}
        if len(epochs) == 1:
            return epochs.pop()
        with torch.no_grad():
            self.stack.values.copy_(start)
        self.optimizer = RowOptimizer(
            self.stack, [trial.recipe for trial in self.trials], self.optimizer.head
        )
        for trial in self.trials:
            trial.curve, trial.seconds = [], 0.0
        return 0

    def _training(self, row: int, trial: _Trial) -> Training:
        model = self.stack.model
        identity = identity_of(model, self.data, trial.recipe, self.seed)
        return Training(model, self.optimizer.alone(row, trial.recipe), None, identity)


def _loss_not_finite(_row: int, trial: _Trial) -> Diverged:
    return Diverged(f"loss is {trial.losses[-1]}", len(trial.losses))
