"""A training step beside a forward pass of the same batch: ratios, measured in turn.

    python benchmarks/step_time.py [--model vit_small_patch16_224] [--batch 16] [--rounds 7]

Prints one JSON line per method: the median over rounds of (step / forward), where both are timed
in the same round. The floor is 2.0: a forward pass and the backward pass to the inputs of every
layer. A step is zero_grad, forward in train mode, loss, backward and AdamW.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune import attach, load_backbone
from foldtune.core.attachment import Attachment
from foldtune.methods import parse

METHODS = (
    "LinearProbe",
    "BitFit",
    "LayerNorm",
    "SSF",
    "LoRA(rank=8)",
    "AdaptFormer(rank=8)",
    "Full",
)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="vit_small_patch16_224")
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--methods", nargs="+", default=METHODS)
    asked = options.parse_args()
    backbone = load_backbone(asked.model, pretrained=asked.model == "micro")
    images, labels = backbone.example(asked.batch), torch.arange(asked.batch) % 10
    for text in asked.methods:
        # Plain forwards are timed on the untouched model: a second copy, not the attached one.
        plain = load_backbone(asked.model, pretrained=asked.model == "micro").model
        attachment = attach(backbone, parse(text), num_classes=10, seed=0)
        forward = _forward(plain, images)
        step = _step(attachment, images, labels)
        ratios, seconds = [], []
        forward(), step()
        for _ in range(asked.rounds):
            f, s = _timed(forward), _timed(step)
            ratios.append(s / f)
            seconds.append(f)
        attachment.detach()
        line = {
            "benchmark": "step_time",
            "model": asked.model,
            "batch": asked.batch,
            "threads": torch.get_num_threads(),
            "method": text,
            "step_over_forward": round(statistics.median(ratios), 3),
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
            "forward_seconds": round(statistics.median(seconds), 4),
        }
        print(json.dumps(line), flush=True)


def _forward(model: nn.Module, images: Tensor) -> Callable[[], object]:
    model.eval()

    def forward() -> object:
        with torch.no_grad():
            return model(images)

    return forward


def _step(attachment: Attachment, images: Tensor, labels: Tensor) -> Callable[[], object]:
    model = attachment.model.train()
    optimizer = torch.optim.AdamW(attachment.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
