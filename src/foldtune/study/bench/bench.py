"""The bench: a backbone and data on which a run becomes a row, logits and a tuning."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from foldtune.analysis.row import Row, Solved, Stage, Tested
from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.checks.shown import Shown
from foldtune.core.container import CONTAINER
from foldtune.core.method import Method
from foldtune.core.tuningfile import save
from foldtune.data import ImageData
from foldtune.data.membership import Membership
from foldtune.errors import Unwritable
from foldtune.judging.predict import predict_logits
from foldtune.processes import first
from foldtune.study.bench.failure import keep_traceback, reason_of
from foldtune.study.bench.ground import Ground, ground_of, prefix_below, sweep
from foldtune.study.bench.judging import chosen_metric, judge_test, score_and_loss
from foldtune.study.bench.room import refuse_full_run
from foldtune.study.bench.row import Facts, failed_row, outcome_row
from foldtune.study.bench.run import Run, short_hash
from foldtune.study.bench.starts import Starts
from foldtune.study.bench.tuning import tuning_facts
from foldtune.study.results.artefacts import LOGITS, TRACEBACK, TUNING, discard, hashes
from foldtune.study.results.logits import keep_validation, write_logits
from foldtune.study.terms.settings import penalty, settle_recipe
from foldtune.training.device import parse_device
from foldtune.training.loop import Outcome, Watch, train
from foldtune.training.prefix import LIMIT, Prefix
from foldtune.training.recipe import Recipe

CHECKPOINT = "checkpoint.safetensors"


class Bench:
    """A backbone and data on which runs are executed one after the other.

    Every run attaches, trains and detaches, which leaves the backbone bitwise as it was, so it is
    loaded and hashed once. Features of the plain backbone are computed once per split.
    checkpoint_seconds: what a kill of a run may cost, see `Pace`; 0 is a checkpoint every epoch.
    prefix_bytes: memory that the features below the first trained block may take, see
    training/prefix.py; 0 is none.
    """

    checkpoint_seconds = 10.0
    prefix_bytes = LIMIT

    def __init__(
        self, backbone: Backbone, data: ImageData, device: str | None = None,
        metric: str | None = None,
    ) -> None:  # fmt: skip
        self.backbone, self.data, self.device = backbone, data, device
        self.metric = chosen_metric(data.task, metric)
        self.identity = backbone.identity()
        self.backbone_hash = short_hash(self.identity)
        if (where := parse_device(device)) is not None:
            backbone.model.to(where)
        self.starts = Starts(backbone, data)
        self._shown: dict[Method, Shown | None] = {}  # what the first run of each method showed

    def describe(
        self, stage: Stage, method: Method, recipe: Recipe, seed: int, *, label: str = "",
        head: str, trial: int | None = None, train_on: tuple[str, ...] | None = None,
    ) -> Run:  # fmt: skip
        """The run of `method` on this bench; finals train on train and validation together.

        What learns nothing but a classifier, and starts it where it is solved, has no epochs.
        """
        recipe = settle_recipe(method, recipe, head)
        return Run(
            stage, label or repr(method), method, recipe, seed, self.backbone_hash,
            self.data.identity, self.data.facts["split_hash"],
            train_on or (("train", "val") if stage == "final" else ("train",)), head, trial,
            "" if self.data.task.usual else repr(self.data.task), self.metric,
        )  # fmt: skip

    def execute(self, run: Run, folder: Path | None = None, progress: str | None = None) -> Row:
        """The row of a run, a failed one where it raises; the backbone is plain again after.

        Raises where no further run could succeed either: the disk is full, or the method did not
        come off the backbone.
        """
        started = time.perf_counter()
        try:
            attachment, row = self.tune(run, folder, progress)
        except Exception as error:
            carried = getattr(self.backbone.model, CONTAINER, None) is not None
            if carried or isinstance(error, Unwritable):  # the next run would meet the same
                raise
            keep_traceback(error, folder)
            row = failed_row(run, reason_of(error), time.perf_counter() - started)
            return _bind_files(row, folder)
        attachment.detach()
        return row

    def tune(
        self, run: Run, folder: Path | None = None, progress: str | None = None,
        watch: Watch | None = None,
    ) -> tuple[Attachment, Row]:  # fmt: skip
        """Train and judge; the attachment, still on the backbone, and the row. watch: sees every
        epoch's entry of the curve.

        With a folder, a run that is tested leaves its tuning and logits there, and a killed one
        resumes from its last checkpoint.
        """
        started = time.perf_counter()
        attachment = self.attach(run.method, run)
        try:
            if folder is not None and first():
                refuse_full_run(folder, attachment, self.data)
            outcome = self._train(attachment, run, folder, progress, watch)
            found = None
            if outcome.finished and run.tested:
                found = self._test(attachment, run, outcome, folder)
        except BaseException:
            attachment.detach()
            raise
        if folder is not None and first():
            for left in (CHECKPOINT, TRACEBACK):
                (folder / left).unlink(missing_ok=True)
        seconds = time.perf_counter() - started
        row = self.row(attachment, run, outcome, seconds=seconds, tested=found)
        return attachment, _bind_files(row, folder)

    def attach(self, method: Method, run: Run) -> Attachment:
        """The method on the backbone, with the classifier started as the run says."""
        remedy = run.recipe.imbalance
        start = self.starts.of(run.head, run.train_on, penalty(method), run.seed, remedy)
        classes = self.data.task.logits(len(self.data.outputs))
        attachment = attach(
            self.backbone, method, num_classes=classes, seed=run.seed, shown=self._shown.get(method)
        )
        self._shown[method] = attachment.shown
        if start is not None:
            attachment.classifier.start_from(*start)
        return attachment

    def ground(self, attachment: Attachment, run: Run) -> Ground:
        """What the run trains, and on what."""
        return ground_of(attachment, run, self.backbone, self.data, self.starts.table)

    def prefix(self, attachment: Attachment, run: Run) -> Prefix | None:
        """The backbone cut below its first block that trains, where that gives the same."""
        return prefix_below(attachment, run.recipe, self.backbone, self.data, self.prefix_bytes)

    def row(
        self, attachment: Attachment, run: Run, outcome: Outcome, *, seconds: float,
        tested: Tested | None = None, stacked: int | None = None,
    ) -> Row:  # fmt: skip
        """The row of a run on this bench, see `outcome_row`."""
        probe: Solved | None = None
        if run.head == "probe":
            C, remedy = penalty(attachment.method), run.recipe.imbalance
            found = self.starts.probe(run.train_on, C, run.seed, remedy)
            probe = {"C": found.C, "nll": found.nll}
        facts: Facts = {
            "backbone": self.backbone.name, "pretrained": self.backbone.pretrained,
            "data": self.data.name, "classes": len(self.data.outputs),
        }  # fmt: skip
        return outcome_row(
            run, facts, attachment, outcome,
            seconds=seconds, probe=probe, tested=tested, stacked=stacked,
        )  # fmt: skip

    def known_pictures(self, run: Run) -> Membership:
        """Which pictures the run's tuning is trained, watched and tested on."""
        return Membership.of(self.data, run.train_on)

    # -- private -------------------------------------------------------------------------------

    def _train(
        self, attachment: Attachment, run: Run, folder: Path | None, progress: str | None,
        watch: Watch | None,
    ) -> Outcome:  # fmt: skip
        ground, recipe, labels = self.ground(attachment, run), run.recipe, self.data.targets
        prefix = self.prefix(attachment, run) if ground.model is attachment.model else None
        if prefix:
            rows = np.union1d(ground.indices, ground.watched)
            inputs = prefix.table(ground.inputs, rows, ground.prepare)
            ground = replace(ground, inputs=inputs, prepare=prefix.prepare)
        model, watched = ground.model, ground.watched

        def validate(epoch: int) -> dict[str, float]:
            if epoch == 0 and recipe.epochs:
                return self.starts.judge(run, ground)
            logits = predict_logits(
                model, ground.inputs, watched, ground.prepare, precision=recipe.precision
            )
            if folder is not None and first() and epoch == recipe.epochs:
                keep_validation(logits, labels[watched], watched, folder)
            return score_and_loss(logits, labels[watched], self.data.task, run.metric)

        if folder is not None:
            sweep(folder)
        with prefix.install() if prefix else nullcontext():
            return train(
                model, ground.inputs, labels, ground.indices, recipe, prepare=ground.prepare,
                seed=run.seed, head=ground.head,
                evaluate=validate if len(watched) and "val" not in run.train_on else None,
                checkpoint=None if folder is None else folder / CHECKPOINT,
                checkpoint_seconds=self.checkpoint_seconds, device=self.device, progress=progress,
                task=self.data.task, watch=watch,
            )  # fmt: skip

    def _test(
        self, attachment: Attachment, run: Run, outcome: Outcome, folder: Path | None
    ) -> Tested:
        """Read the test split, once; pictures of it that are in train, too, are left out."""
        rows = self.data.split("test")
        known = self.known_pictures(run)
        seen = known.is_seen(self.data.keys[rows])
        rows = rows[~seen]
        logits = predict_logits(
            attachment.model, self.data.pixels, rows, prepare_for(self.backbone),
            precision=run.recipe.precision,
        )  # fmt: skip
        targets = self.data.targets[rows]
        found = judge_test(logits, targets, self.data.task, run.metric)
        if folder is not None and first():
            try:
                write_logits(logits, targets, rows, folder / LOGITS)
                facts = tuning_facts(run, outcome, self.identity, self.data)
                pictures = {name: torch.from_numpy(part) for name, part in known.parts.items()}
                save(attachment, folder / TUNING, facts, pictures)
            except Exception:  # of a run without a row nothing stays that looks like a result
                discard(folder, (LOGITS, TUNING))
                raise
        return {
            "test_accuracy": found["test_accuracy"],
            "test_images": len(rows),
            "test_trained_on": int(seen.sum()),  # left out
            "test": found["test"],
        }


def _bind_files(row: Row, folder: Path | None) -> Row:
    """The row, with the hashes of what its run left in the folder."""
    return row if folder is None or not first() else {**row, "files": hashes(folder)}
