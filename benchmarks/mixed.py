"""A mixed batch of eight tasks over one backbone beside one task of the same batch size.

    python benchmarks/mixed.py [--model vit_small_patch16_224] [--batch 32] [--device cpu]

Prints one JSON line per method: the median over rounds of (images/s mixed / images/s single), both
timed in the same round, and the largest difference of logits from eight separate models.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from _lines import Lines, add_results
from torch import Tensor

from foldtune import attach, load, load_backbone, save
from foldtune.backbones import Backbone
from foldtune.backbones.mixed import Mixed
from foldtune.judging.cost import wait
from foldtune.methods import parse

TASKS = 8


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="vit_small_patch16_224")
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--methods", nargs="+", default=("SSF", "BitFit", "LoRA(rank=8)"))
    options.add_argument("--device", default="cpu")
    add_results(options)
    asked = options.parse_args()
    lines = Lines("mixed", asked, asked.device)
    backbone = _loaded(asked.model, asked.device)
    images = backbone.example(asked.batch)
    for text in asked.methods:
        with tempfile.TemporaryDirectory() as folder:
            files = {str(i): _tuned(backbone, text, Path(folder) / str(i), i) for i in range(TASKS)}
            ratios, gap = _measured(backbone, files, images, asked.rounds)
        facts = {"model": asked.model, "batch": asked.batch, "tasks": TASKS}
        lines.tell(
            f"{text}: images/s mixed / single", statistics.median(ratios), "ratio", ">= 0.9",
            lowest=min(ratios), highest=max(ratios), largest_difference=gap, **facts,
        )  # fmt: skip


def _loaded(name: str, device: str | torch.device) -> Backbone:
    backbone = load_backbone(name, pretrained=name == "micro")
    backbone.model.to(device)
    return backbone


def _tuned(backbone: Backbone, text: str, path: Path, seed: int) -> Path:
    attachment = attach(backbone, parse(text), num_classes=10, seed=seed)
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    save(attachment, path, {"backbone": backbone.identity()})
    attachment.detach()
    return path


def _measured(
    backbone: Backbone, files: dict[str, Path], images: Tensor, rounds: int
) -> tuple[list[float], float]:
    asked = [str(i % TASKS) for i in range(len(images))]
    alone = torch.stack(list(_alone(backbone, files, images, asked)))
    # The same model again: both stay attached, and are timed in turn.
    other = _loaded(backbone.name, images.device)
    single = load(files["0"], other).model
    mixed = Mixed(backbone, files)
    together = torch.stack(mixed(images, asked))
    _forward(single, images)
    calls = (lambda: _forward(single, images)), (lambda: mixed(images, asked))
    seconds = [tuple(_timed(call, images.device) for call in calls) for _ in range(rounds)]
    mixed.close()
    return [one / all_ for one, all_ in seconds], float((together - alone).abs().max())


def _alone(
    backbone: Backbone, files: dict[str, Path], images: Tensor, asked: list[str]
) -> Iterator[Tensor]:
    for i, task in enumerate(asked):
        attachment = load(files[task], backbone)
        yield _forward(attachment.model, images[i : i + 1])[0]
        attachment.detach()


@torch.no_grad()
def _forward(model: torch.nn.Module, images: Tensor) -> Tensor:
    return model.eval()(images)


def _timed(call: Callable[[], object], device: torch.device) -> float:
    wait(device)
    started = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
