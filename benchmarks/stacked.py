"""Trials of one method stacked, beside the same trials one after the other.

    OMP_NUM_THREADS=1 python benchmarks/stacked.py [--trials 4] [--batches 16 64] [--rounds 5]

Prints one JSON line for each method and batch size: the median over rounds of the processor seconds
of a step of each trial by itself over those of one step of the stack, both taken in the same round
(with the lean gradients where a trial by itself has them); `counted`, the same in operations, by
which trials are stacked or not (`stacked`). With --whole also a line for each method of all trials
of a small study, attach, probe and validation included, by executor "in-process" over "stacked",
with the largest difference of their validation losses; without --augment the frozen blocks are
computed once a study, and nothing but a classifier alone is stacked. A classifier alone
(LinearProbe) is stacked whatever is counted; its steps are timed here as with augmentation.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _lines import Lines, add_results
from torch import Tensor

from foldtune import attach, load_backbone
from foldtune.backbones import Backbone
from foldtune.core.attachment import Attachment
from foldtune.data import load_data
from foldtune.methods import parse
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import InProcess
from foldtune.study.executors.stacked import Stacked, gain, pays
from foldtune.training.host import lend_model, train_mode
from foldtune.training.optim.optimizer import build_optimizer
from foldtune.training.recipe import Recipe
from foldtune.training.regularise import losses_of
from foldtune.training.stack import RowOptimizer, Stack

METHODS = ("LinearProbe", "LastBlocks(count=1)", "LastBlocks(count=2)", "BitFit", "LoRA", "SSF")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="micro")
    options.add_argument("--size", type=int, default=32)
    options.add_argument("--trials", type=int, default=4)
    options.add_argument("--batches", type=int, nargs="+", default=(16, 64))
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--methods", nargs="+", default=METHODS)
    options.add_argument("--whole", action="store_true")
    options.add_argument("--augment", nargs="+", default=(), help="of the whole study")
    add_results(options)
    asked = options.parse_args()
    lines = Lines("stacked", asked)
    backbone = load_backbone(asked.model, pretrained=asked.model == "micro", size=asked.size)
    facts = {"model": asked.model, "size": asked.size, "trials": asked.trials}
    for text in asked.methods:
        for batch in asked.batches:
            ratios, more = _measured(backbone, text, batch, asked.trials, asked.rounds)
            lines.tell(
                f"{text}: steps alone / stacked", statistics.median(ratios), "ratio",
                lowest=min(ratios), highest=max(ratios), **more, batch=batch, **facts,
            )  # fmt: skip
        if asked.whole:
            whole, more = _whole(backbone, text, asked.trials, tuple(asked.augment))
            study = " with ".join(["study", *asked.augment]) + "," * bool(asked.augment)
            lines.tell(f"{text}: {study} in-process / stacked", whole, "ratio", **more, **facts)


def _measured(
    backbone: Backbone, text: str, batch: int, trials: int, rounds: int
) -> tuple[list[float], dict[str, Any]]:
    """Gains of the rounds, and what is counted."""
    images, labels = backbone.example(batch), torch.arange(batch) % 10
    lean = _attached(backbone, text)
    # A model of its own: the stack's gradients keep plainly, and both are timed in turn.
    other = load_backbone(backbone.name, pretrained=False, size=backbone.transform.size)
    plain = _attached(other, text)
    counted = gain(plain, other.example(2), trials)
    recipe = Recipe()
    with (
        lend_model(lean.model, recipe, images.device),
        lend_model(plain.model, recipe, images.device),
    ):
        train_mode(lean.model)
        train_mode(plain.model)
        alone = _steps_alone(lean, images, labels, trials)
        together = _steps_together(plain, images, labels, trials)
        next(alone), next(together)
        turns = [(_seconds(alone), _seconds(together)) for _ in range(rounds)]
    chosen = pays(plain, recipe, other.example(2), trials)
    lean.detach()
    return [one / stacked for one, stacked in turns], {"counted": counted, "stacked": chosen}


def _attached(backbone: Backbone, text: str) -> Attachment:
    return attach(backbone, parse(text), num_classes=10, seed=0)


def _steps_alone(
    attachment: Attachment, images: Tensor, labels: Tensor, trials: int
) -> Iterator[None]:
    """A step of each trial, one after the other, at every turn."""
    optimizer = build_optimizer(attachment.model, Recipe())
    while True:
        for _ in range(trials):
            loss = F.cross_entropy(attachment.model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield


def _steps_together(
    attachment: Attachment, images: Tensor, labels: Tensor, trials: int
) -> Iterator[None]:
    """A step of all trials at once, at every turn."""
    stack = Stack(attachment.model, trials)
    optimizer = RowOptimizer(stack, [Recipe()] * trials)
    while True:
        logits = stack(images).unflatten(1, (trials, -1))
        losses = losses_of(logits, labels, 0.0)
        (gradient,) = torch.autograd.grad(losses.sum(), stack.values)
        optimizer.step(gradient, [1e-3] * trials)
        yield


def _seconds(turns: Iterator[None]) -> float:
    return _timed(lambda: next(turns))[0]


def _timed(call: Callable[[], object]) -> tuple[float, object]:
    started = time.process_time()
    done = call()
    return time.process_time() - started, done


def _whole(
    backbone: Backbone, text: str, trials: int, augment: tuple[str, ...]
) -> tuple[float, dict[str, Any]]:
    """A study's trials of one method by both executors: 20 images a class, three epochs; a study
    augments nothing by default."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data = load_data("digits", size=backbone.transform.size, cache=home / "cache").few_shot(20)
        bench = Bench(backbone, data)
        base = Recipe(epochs=3, warmup_epochs=0.3, augment=augment)
        runs = [
            bench.describe(
                "trial", parse(text), replace(base, lr=1e-3 / 2**i), 0, head="probe"
            )
            for i in range(trials)
        ]  # fmt: skip
        bench.attach(parse(text), runs[0]).detach()  # features for the probe, computed once
        one, alone = _timed(lambda: list(InProcess(bench, home / "alone")(runs)))
        both, together = _timed(lambda: list(Stacked(bench, home / "together")(runs)))
        losses = [{r["run"]: r["val_loss"] for r in rows} for rows in (alone, together)]  # type: ignore[attr-defined]
    differences = [abs(losses[0][run] - losses[1][run]) for run in losses[0]]
    stacked = "stacked" in together[0]  # type: ignore[index]
    more = {"augment": " ".join(augment)} if augment else {}
    return one / both, {"largest_difference": max(differences), "stacked": stacked, **more}


if __name__ == "__main__":
    main()
