"""A training step beside a forward pass of the same batch: ratios, measured in turn.

    python benchmarks/step_time.py [--model vit_small_patch16_224] [--batch 16] [--rounds 7]

Prints one JSON line per method: the median over rounds of (step / forward), where both are timed
in the same round. The floor is 2.0: a forward pass and the backward pass to the inputs of every
layer. A step is zero_grad, forward in train mode, loss, backward and AdamW.
"""

from __future__ import annotations

import argparse

from _lines import Lines, add_results

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
# The floor is 2; these three merge and train in every block.
AIMS = dict.fromkeys(("BitFit", "SSF", "LoRA(rank=8)"), "<= 2.3")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="vit_small_patch16_224")
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--methods", nargs="+", default=METHODS)
    options.add_argument("--device", default="cpu")
    add_results(options)
    asked = options.parse_args()
    lines = Lines("step_time", asked, asked.device)
    backbone = load_backbone(asked.model, pretrained=asked.model == "micro")
    backbone.model.to(asked.device)
    for text in asked.methods:
        attachment = attach(backbone, parse(text), num_classes=10, seed=0)
        found = step_over_forward(attachment, backbone.example(asked.batch), asked.rounds)
        attachment.detach()
        lines.tell(
            f"{text}: step / forward", found.median, "ratio", AIMS.get(text),
            lowest=min(found.ratios), highest=max(found.ratios), model=asked.model,
            batch=asked.batch, forward_seconds=found.forward_seconds,
        )  # fmt: skip


if __name__ == "__main__":
    main()
