"""The training loop: one function, for every method, on any device."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.errors import InputError
from foldtune.tasks.kinds import SingleLabel
from foldtune.tasks.task import Task
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
from foldtune.training.device import Prepared, prepare_model
from foldtune.training.host import least_images, lend_model, train_mode
from foldtune.training.optim.average import Average
from foldtune.training.optim.losses import Diverged, Losses, check_finite, look_every
from foldtune.training.optim.objective import evenly_drawn, objective
from foldtune.training.optim.optimizer import build_optimizer, trainable
from foldtune.training.optim.schedule import learning_rate, warmup_steps
from foldtune.training.progress import Advance, progress_line
from foldtune.training.recipe import Recipe
from foldtune.training.regularise import mixer
from foldtune.training.speed.graphs import GraphedStep
from foldtune.training.speed.passes import Passes
from foldtune.training.speed.resident import kept_on
from foldtune.training.speed.step import Step

Evaluate = Callable[[int], Mapping[str, Any]]
Watch = Callable[[Entry], None]

FINISHED = "finished"


@dataclass(frozen=True)
class Outcome:
    """What a training gave, beside the trained model.

    curve: for each whole epoch `epoch` (from 1), `loss` (mean over its images), `lr` (of its last
    step), `seconds` and `images_per_second` (training only), and what `evaluate` returned. Before
    them, an entry of epoch 0: what `evaluate` returned of the start, where it returned any.
    verdict: "finished", or "diverged: ..." with where and what to try.
    seconds: wall time with evaluation, over all parts of a resumed run.
    """

    curve: tuple[Entry, ...]
    verdict: str
    seconds: float

    @property
    def finished(self) -> bool:
        """Whether all epochs ran."""
        return self.verdict == FINISHED


def train(
    model: nn.Module,
    pixels: np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    recipe: Recipe,
    *,
    prepare: Prepare,
    seed: int,
    head: Collection[str] = (),
    evaluate: Evaluate | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 1,
    checkpoint_seconds: float = 0.0,
    device: str | None = None,
    progress: str | None = None,
    watch: Watch | None = None,
    task: Task | None = None,
) -> Outcome:
    """Train the model's trainable parameters on the rows `indices`, in place.

    pixels: (images, height, width, 3) uint8, a memmap will do; labels: (images,), or the targets of
    `task`, which is one label an image by default.
    prepare: maps a batch (batch, height, width, 3) uint8 on the device and a generator on the CPU
    to normalised floats (batch, 3, height, width). With recipe.phases it must offer `at(side)`,
    the same at a side in pixels (data.resample does).
    head: names of the classifier's parameters, for recipe.head_lr.
    evaluate: called with 0 before the first step and with its number after each epoch, the model
    in eval mode; its numbers join the curve; with recipe.ema the model holds the averaged weights
    for it, and after the last epoch it keeps them. checkpoint: a file to resume from where it
    exists, written every `checkpoint_every` epochs and after the last, or by the clock, see `Pace`;
    the caller deletes it. progress: a label for the line on a terminal; None is quiet. watch:
    called with each new entry of the curve.

    On a CPU the same call gives the same bits, killed and resumed or not, and the caller's random
    state is left alone. A loss that is not finite ends the run with a verdict, the weights as they
    are; the last checkpoint stays. The model comes back in eval mode, on the device, without
    gradients. Raises InputError before the first step for what cannot be trained.
    """
    data = Data(pixels, labels, indices)
    if type(seed) is not int or seed < 0:
        raise InputError(f"seed={seed!r} is not allowed; a whole number >= 0 is needed")
    pace = Pace(recipe.epochs, checkpoint_every, checkpoint_seconds)
    trainable(model)
    with (
        prepare_model(model, recipe.precision, device, recipe.compile, recipe.channels_last) as at,
        lend_model(model, recipe, at.device),
    ):
        wanted = task or SingleLabel()
        run = _Run(model, at, data, recipe, prepare=prepare, seed=seed, head=head, task=wanted)
        return run.all_epochs(evaluate, checkpoint, pace, progress, watch)


class _Run:
    """One training's fixed parts, and the steps over them."""

    def __init__(
        self,
        model: nn.Module,
        at: Prepared,
        data: Data,
        recipe: Recipe,
        *,
        prepare: Prepare,
        seed: int,
        head: Collection[str],
        task: Task,
    ) -> None:
        self.model, self.at, self.data, self.recipe = model, at, data, recipe
        self.source = kept_on(data, at.device)
        self.prepare, self.seed, self.classes = prepare, seed, task.logits(data.classes)
        self.mixer = mixer(recipe, self.classes)
        self.least = least_images(model)
        loss = objective(task, recipe, data.labels[data.indices])
        passes = Passes(
            model, at, loss, self.classes, parted=self.least == 1, compiled=recipe.compile
        )
        processes = at.accelerator.num_processes
        self.steps = steps_per_epoch(len(data.indices), recipe, processes, self.least)
        self.warmup = warmup_steps(recipe, self.steps)
        optimizer = build_optimizer(model, recipe, head)
        # Accelerate's wrapper serves the gradient scaler. Without one it only looks for an absent
        # package on the disk twice a step: 0.5 ms (1.15).
        scaled = at.accelerator.scaler is not None
        stepped = at.accelerator.prepare_optimizer(optimizer) if scaled else optimizer
        identity = identity_of(model, data, recipe, seed)
        self.average = Average(model, recipe.ema) if recipe.ema > 0 else None
        parameters = list(trainable(model).values())
        step = Step(passes, stepped, parameters, recipe.clip_norm, self.average)
        usual = min(recipe.batch_size, len(data.indices) // recipe.parts)
        self.take = GraphedStep(step, recipe, at.device, usual) if recipe.cuda_graphs else step
        scaler = at.accelerator.scaler
        self.training = Training(model, optimizer, scaler, identity, self.average)

    def all_epochs(
        self,
        evaluate: Evaluate | None,
        path: Path | None,
        pace: Pace,
        label: str | None,
        watch: Watch | None,
    ) -> Outcome:
        started = time.perf_counter()
        curve: list[Entry] = []
        if path is not None and (resumed := read_checkpoint(path, self.training)):
            curve, spent = resumed
            started -= spent
        epochs = self.recipe.epochs
        images = len(self.data.indices) // self.recipe.parts  # of an epoch
        if self.recipe.drop_last:
            images = min(images, self.steps * self.recipe.batch_size)
        done = epochs_trained(curve)
        self.model.eval()
        if evaluate and not curve and (start := evaluate(0)):
            curve.append(joined_entry({"epoch": 0}, start))
            if watch is not None:
                watch(curve[-1])
        with progress_line(label, done * images, epochs * images) as advance:
            for epoch in range(done + 1, epochs + 1):
                try:
                    entry = self.epoch(epoch, advance)
                except Diverged as stop:
                    verdict = stop.verdict(self.recipe, epoch, self.steps)
                    return Outcome(tuple(curve), verdict, time.perf_counter() - started)
                self.model.eval()
                with self.average.on_model() if self.average else nullcontext():
                    curve.append(joined_entry(entry, evaluate(epoch) if evaluate else {}))
                if path is not None and self.at.accelerator.is_main_process and pace.due(epoch):
                    write_checkpoint(path, self.training, curve, time.perf_counter() - started)
                    pace.restart()
                if watch is not None:
                    watch(curve[-1])
        if self.average:
            self.average.keep()
        return Outcome(tuple(curve), FINISHED, time.perf_counter() - started)

    def epoch(self, epoch: int, advance: Advance) -> Entry:
        """Train one epoch; its entry of the curve. Raises Diverged."""
        accelerator = self.at.accelerator
        rank, processes = accelerator.process_index, accelerator.num_processes
        generator = seeds.generator(self.seed, epoch, seeds.PREPARE, rank)
        every = look_every(self.at.device, processes)
        losses = Losses(every, lambda x: accelerator.reduce(x, "mean"))
        started, images, lr = time.perf_counter(), 0, 0.0
        prepare = prepare_at(self.prepare, self.recipe.side(epoch))
        train_mode(self.model)
        with seeds.seeded_model(self.seed, epoch, self.at.device, rank):
            batches = epoch_batches(
                evenly_drawn(self.data.indices, self.data.labels, self.recipe, self.seed, epoch),
                self.recipe, self.seed, epoch,
                rank=rank, processes=processes, least=self.least,
            )  # fmt: skip
            ahead = self.data.ahead(batches)
            for step, rows in enumerate(ahead, start=(epoch - 1) * self.steps):
                lr = learning_rate(step, self.recipe.epochs * self.steps, self.warmup, self.recipe)
                self.step(rows, lr, lambda x: prepare(x, generator), losses)
                images += len(rows) * processes
                advance(len(rows) * processes, epoch, losses.last)
            mean = losses.mean()
            check_finite(self.model, self.steps)
        seconds = time.perf_counter() - started
        entry: Entry = {"epoch": epoch, "loss": mean, "lr": lr, "seconds": seconds}
        return entry | {"images_per_second": images / seconds}

    def step(
        self, rows: np.ndarray, lr: float, ready: Callable[[Tensor], Tensor], losses: Losses
    ) -> None:
        """One step of the optimizer on one batch; none where the loss is seen not to be finite."""
        batch, targets = self.source.load(rows, self.at.device)
        images = ready(batch)
        if self.mixer is not None:
            images, targets = self.mixer(images, targets)
        if self.at.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        self.take(images, targets, lr, lambda loss: losses.add(loss, len(rows)))
