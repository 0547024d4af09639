"""A grid of linear probes beside one pass of their features through the backbone.

    python benchmarks/probe_grid.py [--images 1000] [--model micro] [--epochs 20] [--rounds 3]

Eight learning rates times eight weight decays, trained as one stack on cached features for --epochs
with a judgement on a quarter as many images after each epoch, as `--executor stacked` does. Prints
the processor time of features and grid together over that of the features alone (the clock's beside
it), and what training 64 probes one after the other takes of the time of the grid.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from _lines import Lines, add_results

from foldtune import attach, load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.structure.head import find_head
from foldtune.judging.predict import predict_logits
from foldtune.methods import parse
from foldtune.study.bench.ground import as_they_are
from foldtune.training.loop import train
from foldtune.training.probe import classifier_inputs
from foldtune.training.recipe import Recipe
from foldtune.training.stack import Stack
from foldtune.training.stacked import train_stacked

CLASSES = 10
RATES = np.geomspace(3e-4, 3e-2, 8).tolist()
DECAYS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--model", default="micro")
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--device", default="cpu")
    add_results(options)
    asked = options.parse_args()
    lines = Lines("probe_grid", asked, asked.device)
    backbone = load_backbone(asked.model, pretrained=asked.model == "micro")
    backbone.model.to(asked.device)
    draw, side = np.random.default_rng(0), backbone.transform.size
    pixels = draw.integers(0, 256, (asked.images, side, side, 3), dtype=np.uint8)
    labels, rows = draw.integers(0, CLASSES, len(pixels)), np.arange(asked.images)
    base = Recipe(epochs=asked.epochs, warmup_epochs=0.1 * asked.epochs, min_lr=0.0, warmup_lr=0.0)
    recipes = [
        Recipe(**{**vars(base), "lr": lr, "weight_decay": decay})
        for lr, decay in itertools.product(RATES, DECAYS)
    ]
    attachment = attach(backbone, parse("LinearProbe"), num_classes=CLASSES, seed=0)
    path = find_head(backbone.model)[0]
    head = backbone.model.get_submodule(path)

    def features() -> np.ndarray:
        return classifier_inputs(backbone.model, path, pixels, rows, prepare_for(backbone))

    options: dict[str, Any] = {"prepare": as_they_are, "seed": 0, "device": asked.device}

    def grid(found: np.ndarray) -> None:
        def judge(_epoch: int, stack: Stack, members: Sequence[int]) -> list[dict]:
            logits = predict_logits(stack, found, rows[: asked.images // 4], as_they_are)
            right = logits.unflatten(1, (len(members), -1)).argmax(2) == truth[:, None]
            return [{"val_accuracy": one} for one in right.double().mean(0).tolist()]

        truth = torch.from_numpy(labels[: asked.images // 4])
        train_stacked(copy.deepcopy(head), found, labels, rows, recipes, judge=judge, **options)

    def alone(found: np.ndarray, count: int) -> None:
        for recipe in recipes[:count]:
            train(copy.deepcopy(head), found, labels, rows, recipe, **options)

    table = features()
    grid(table)
    ratios, clocks, singles = [], [], []
    for _ in range(asked.rounds):
        one, two = _paid(features, asked.device), _paid(lambda: grid(table), asked.device)
        ratios.append((one[0] + two[0]) / one[0])
        clocks.append((one[1] + two[1]) / one[1])
        singles.append(_paid(lambda: alone(table, 4), asked.device)[0] * 16 / two[0])
    attachment.detach()
    facts = {"model": asked.model, "images": asked.images, "epochs": asked.epochs}
    lines.tell(
        f"features and {len(recipes)} probes / features, {asked.model}",
        statistics.median(ratios), "ratio", "<= 1.2", clock_ratio=statistics.median(clocks),
        lowest=min(ratios), highest=max(ratios), **facts,
    )  # fmt: skip
    lines.tell(
        f"{len(recipes)} probes one by one / together, {asked.model}",
        statistics.median(singles), "ratio", **facts,
    )  # fmt: skip


def _paid(call: Callable[[], object], device: str) -> tuple[float, float]:
    """Processor time and the clock's; on a GPU the clock's twice."""
    if device != "cpu":
        torch.cuda.synchronize()
    clock, processor = time.perf_counter(), time.process_time()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - clock
    return (time.process_time() - processor if device == "cpu" else seconds), seconds


if __name__ == "__main__":
    main()
