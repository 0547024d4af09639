"""A grid of linear probes beside one pass of their features through the backbone.

    python benchmarks/probe_grid.py [--images 1000] [--model micro] [--epochs 20] [--rounds 3]

Eight learning rates times eight weight decays, trained on cached features for --epochs with a
judgement on a quarter as many images after each epoch. Prints the processor time of features and
grid together over that of the features alone (the clock's beside it), and what training 64 probes
one after the other takes of the time of the grid.
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
from torch import Tensor

from foldtune import attach, load_backbone
from foldtune.core.head import find_head
from foldtune.methods import parse
from foldtune.study.ground import prepare_for
from foldtune.training.batches import Data
from foldtune.training.loop import train
from foldtune.training.probe import classifier_inputs
from foldtune.training.probe_grid import train_probes
from foldtune.training.recipe import Recipe

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
    labels = draw.integers(0, CLASSES, len(pixels))
    base = Recipe(epochs=asked.epochs, warmup_epochs=0.1 * asked.epochs, min_lr=0.0, warmup_lr=0.0)
    recipes = [
        Recipe(**{**vars(base), "lr": lr, "weight_decay": decay})
        for lr, decay in itertools.product(RATES, DECAYS)
    ]
    attachment = attach(backbone, parse("LinearProbe"), num_classes=CLASSES, seed=0)
    path = find_head(backbone.model)[0]
    head = backbone.model.get_submodule(path)

    def features() -> np.ndarray:
        rows = np.arange(asked.images)
        return classifier_inputs(backbone.model, path, pixels, rows, prepare_for(backbone))

    def grid(found: np.ndarray) -> Any:
        data = Data(found, labels, np.arange(asked.images))
        watched = torch.from_numpy(found[: asked.images // 4]).to(asked.device)
        return train_probes(
            data, recipes, (head.weight, head.bias), seed=0,
            evaluate=lambda _epoch, weight, bias: _judged(watched, labels, weight, bias),
        )  # fmt: skip

    def alone(found: np.ndarray, count: int) -> None:
        rows, own = np.arange(asked.images), labels
        for recipe in recipes[:count]:
            train(
                copy.deepcopy(head), found, own, rows, recipe, prepare=lambda x, _: x, seed=0,
                device=asked.device,
            )  # fmt: skip

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


def _judged(watched: Tensor, labels: np.ndarray, weight: Tensor, bias: Tensor) -> Sequence[dict]:
    logits = torch.baddbmm(bias[..., None], weight, watched.T.expand(len(weight), -1, -1))
    truth = torch.from_numpy(labels[: len(watched)]).to(watched.device)
    right = (logits.argmax(1) == truth).double().mean(1).tolist()
    return [{"val_accuracy": one} for one in right]


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
