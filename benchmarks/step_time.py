"""A training step beside a forward pass of the same batch: ratios, measured in turn.

    python benchmarks/step_time.py [--model vit_small_patch16_224] [--batch 16] [--rounds 7]

Prints one JSON line per method: the median over rounds of (step / forward), where both are timed
in the same round. The floor is 2.0: a forward pass and the backward pass to the inputs of every
layer. A step is zero_grad, forward in train mode, loss, backward and AdamW.
"""

from __future__ import annotations

import argparse
import json

import torch

from foldtune import attach, load_backbone
from foldtune.evaluate.steptime import step_over_forward
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
    for text in asked.methods:
        attachment = attach(backbone, parse(text), num_classes=10, seed=0)
        found = step_over_forward(attachment, backbone.example(asked.batch), asked.rounds)
        attachment.detach()
        line = {
            "benchmark": "step_time",
            "model": asked.model,
            "batch": asked.batch,
            "threads": torch.get_num_threads(),
            "method": text,
            "step_over_forward": round(found.median, 3),
            "lowest": round(min(found.ratios), 3),
            "highest": round(max(found.ratios), 3),
            "forward_seconds": round(found.forward_seconds, 4),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
