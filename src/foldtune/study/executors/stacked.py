"""Trials of one method trained together where that is less work, in this process."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from foldtune.analysis.row import Row
from foldtune.core.attachment import Attachment
from foldtune.errors import InputError
from foldtune.judging.counters import counting
from foldtune.judging.predict import predict_logits
from foldtune.study.bench.bench import CHECKPOINT, Bench
from foldtune.study.bench.failure import keep_traceback
from foldtune.study.bench.ground import Ground, only_a_classifier, sweep
from foldtune.study.bench.judging import score_and_loss
from foldtune.study.bench.run import Run
from foldtune.study.results.artefacts import hashes
from foldtune.study.results.logits import keep_validation
from foldtune.study.results.status import checkpoint_header
from foldtune.training.curve import epochs_trained
from foldtune.training.host import host_logits, lend_model, train_mode
from foldtune.training.recipe import Recipe
from foldtune.training.stack import Stack, common
from foldtune.training.stacked import train_stacked

LARGEST = 8  # trials in a stack: what they do not share is kept for each
LARGEST_PROBES = 64  # of a classifier alone, whose steps are small
LEAST_GAIN = 1.5  # operations of separate trials over the stack's; 1.6 was timed as 1.2 to 1.4
_NUMBERS = 2**26  # of all trials' tensors: 1 GiB with their gradients and AdamW's state
_BATCH = 256  # images in a pass of validation


class Stacked:
    """Executes trials that differ in rates and decay alone as stacks, where `pays` says so.

    Everything else is executed as by `InProcess`. A stacked trial's row says of how many it was
    one, in `stacked`; it equals the row of the trial by itself within rounding, not bit for bit.
    """

    workers = 1

    def __init__(self, bench: Bench, study: Path) -> None:
        self.bench, self.study = bench, study

    def __call__(self, runs: Sequence[Run]) -> Iterator[Row]:
        for group in self._groups(runs):
            for part in _evenly(group, self._largest(group)):
                rows = self._together(part) if len(part) > 1 else None
                for place, run in enumerate(part):
                    if rows is None:
                        yield self.bench.execute(run, self._folder(run))
                    else:
                        (self._folder(run) / CHECKPOINT).unlink(missing_ok=True)
                        yield rows[place]

    def _groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Runs that may share a stack: as far trained, and equal but for rates and decay."""
        groups: dict[object, list[Run]] = {}
        for run in runs:
            groups.setdefault(self._kind(run), []).append(run)
        return list(groups.values())

    def _kind(self, run: Run) -> object:
        try:
            shared = common(run.recipe)
        except InputError:
            return run.key
        if run.task or run.metric:  # a stack's loss and judge are those of classes
            return run.key
        if run.recipe.epochs == 0:  # nothing is trained
            return run.key
        if run.tested:  # they differ in their seeds, and so in their batches
            return run.key
        header = checkpoint_header(self._folder(run) / CHECKPOINT)
        epochs = epochs_trained(header["curve"]) if header else 0
        return replace(run, recipe=shared, label="", trial=None), epochs

    def _together(self, runs: Sequence[Run]) -> list[Row] | None:
        """The rows of a stack; None where it raised, and each trial is to show by itself why."""
        try:
            attachment = self.bench.attach(runs[0].method, runs[0])
            try:
                attachment.keep_plainly()
                rows = self._stack(attachment, self.bench.ground(attachment, runs[0]), runs)
            finally:
                attachment.detach()
        except Exception as error:
            keep_traceback(error, self._folder(runs[0]))
            return None
        return rows

    def _largest(self, runs: Sequence[Run]) -> int:
        """How many of these runs a stack is to have; 1 where they are better trained alone."""
        if len(runs) == 1:
            return 1
        # How the classifier starts changes no count, and solving it takes long.
        run, example = replace(runs[0], head="default"), self.bench.backbone.example(2)
        try:
            attachment = self.bench.attach(run.method, run)
        except Exception:  # its row will say so
            return 1
        try:
            probes = only_a_classifier(attachment, run.recipe)
            # A run by itself computes the frozen blocks once; once an epoch for all is more.
            if not probes and self.bench.prefix(attachment, run) is not None:
                return 1
            fitting = max(1, _NUMBERS // _own_numbers(attachment))
            largest = min(LARGEST_PROBES if probes else LARGEST, len(runs), fitting)
            return largest if pays(attachment, run.recipe, example, largest) else 1
        finally:
            attachment.detach()

    def _stack(self, attachment: Attachment, ground: Ground, runs: Sequence[Run]) -> list[Row]:
        labels, folders = self.bench.data.labels, [self._folder(run) for run in runs]
        truth = labels[ground.watched]
        for folder in folders:
            sweep(folder)

        def judge(epoch: int, stack: Stack, members: Sequence[int]) -> list[dict[str, float]]:
            if epoch == 0:  # from which all start
                return [self.bench.starts.judge(runs[0], ground)] * len(members)
            batch = _BATCH if ground.inputs.ndim == 2 else _BATCH // len(members)
            beside = predict_logits(stack, ground.inputs, ground.watched, ground.prepare, batch)
            stacked = beside.unflatten(1, (len(members), -1)).unbind(1)
            each = [logits.contiguous() for logits in stacked]
            if epoch == runs[0].recipe.epochs:
                for number, logits in zip(members, each, strict=True):
                    keep_validation(logits, truth, ground.watched, folders[number])
            return [score_and_loss(logits, truth) for logits in each]

        started = time.perf_counter()
        found = train_stacked(
            ground.model, ground.inputs, labels, ground.indices, [run.recipe for run in runs],
            prepare=ground.prepare, seed=runs[0].seed, head=ground.head, judge=judge,
            checkpoints=[folder / CHECKPOINT for folder in folders],
            checkpoint_seconds=self.bench.checkpoint_seconds, device=self.bench.device,
        )  # fmt: skip
        seconds = (time.perf_counter() - started) / len(runs)
        rows = [
            self.bench.row(attachment, run, one.outcome, seconds=seconds, stacked=len(runs))
            for run, one in zip(runs, found, strict=True)
        ]
        for row, folder in zip(rows, folders, strict=True):
            row["files"] = hashes(folder)
        return rows

    def _folder(self, run: Run) -> Path:
        return self.study / "runs" / run.key


def _evenly(group: Sequence[Run], largest: int) -> list[Sequence[Run]]:
    """As few parts as `largest` allows, none much smaller than the others."""
    parts = math.ceil(len(group) / largest)
    size = math.ceil(len(group) / parts)
    return [group[at : at + size] for at in range(0, len(group), size)]


def pays(attachment: Attachment, recipe: Recipe, example: Tensor, trials: int) -> bool:
    """Whether a stack of so many trials is to be expected faster than one after the other.

    Counted, not timed, so that the same study takes the same way on every machine: the trials
    share what stands before the first tensor that trains, and that must save a third of the
    operations. A classifier by itself always pays: its steps are too small to be anything but
    overhead. False as well where the tensors of all take too much memory, or vmap cannot map the
    model.
    """
    if trials * _own_numbers(attachment) > _NUMBERS:
        return False
    if only_a_classifier(attachment, recipe):
        return True
    try:
        return gain(attachment, example, trials) >= LEAST_GAIN
    except InputError:
        return False


def gain(attachment: Attachment, example: Tensor, trials: int) -> float:
    """Operations of `trials` separate steps over those of a stacked one, counted on the example.

    The attachment's gradients keep plainly after. Raises InputError where its model cannot be
    stacked.
    """
    model = attachment.model
    attachment.keep_plainly()
    images = example.to(next(model.parameters()).device)
    with lend_model(model, Recipe(), images.device):
        train_mode(model)
        alone = _operations(model, images)
        return trials * alone / _operations(Stack(model, trials), images)


def _own_numbers(attachment: Attachment) -> int:
    """Numbers that a trial has of its own, the classifier's included."""
    return attachment.trainable + attachment.head_size


def _operations(model: nn.Module, images: Tensor) -> int:
    with counting() as counter:
        host_logits(model(images)).sum().backward()
    operations: int = counter.get_total_flops()
    return operations
