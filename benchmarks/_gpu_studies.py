"""Trainings of `micro` a minute, which is what studies of small hosts are made of."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _lines import Lines

from foldtune import attach, load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.judging.cost import wait
from foldtune.methods import parse
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe
from foldtune.training.stacked import train_stacked

CLASSES, SIDE = 10, 32


def runs_a_minute(lines: Lines, asked: Any, until: float) -> None:
    """LoRA on 512 images of 32 pixels, five epochs in batches of 32: one training after the other,
    the same with steps as CUDA graphs, then 64 as one stack, as a study's `--executor stacked`
    trains them."""
    images, epochs, alone, together = (32, 1, 2, 4) if asked.toy else (512, 5, 4, 64)
    device = torch.device(asked.device)
    backbone = load_backbone("micro", size=SIDE)
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
    labels, rows = draw.integers(0, CLASSES, images), np.arange(images)
    attachment = attach(backbone, parse("LoRA(rank=8)"), num_classes=CLASSES, seed=0)
    base = Recipe(epochs=epochs, batch_size=32, warmup_epochs=0.0, min_lr=0.0)
    rates = np.geomspace(1e-4, 1e-2, together).tolist()
    recipes = [replace(base, lr=rate) for rate in rates]
    options: dict[str, Any] = {"prepare": prepare_for(backbone), "seed": 0, "device": asked.device}
    facts = {"images": images, "epochs": epochs, "model": "micro"}

    def one_by_one(**changes: Any) -> int:
        for recipe in recipes[:alone]:
            recipe = replace(recipe, **changes)
            train(copy.deepcopy(attachment.model), pixels, labels, rows, recipe, **options)
        return alone

    def as_one() -> int:
        model = copy.deepcopy(attachment.model)
        train_stacked(model, pixels, labels, rows, recipes, **options)
        return together

    ways = {
        "one after the other": one_by_one,
        "one after the other, as CUDA graphs": lambda: one_by_one(cuda_graphs=True),
        f"{together} as one stack": as_one,
    }
    first = None
    for name, way in ways.items():
        if time.monotonic() > until:
            print(f"left out for want of time: trainings {name}")
            continue
        started = time.perf_counter()
        count = way()
        wait(device)
        speed = 60 * count / (time.perf_counter() - started)
        first = first or speed
        lines.tell(
            f"trainings of micro a minute, {name}",
            speed,
            "1/min",
            over_first=speed / first,
            **facts,
        )
