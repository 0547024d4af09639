"""A training step beside a forward pass of the same batch: ratios, measured in turn.

    python benchmarks/step_time.py [--model vit_small_patch16_224] [--batch 16] [--rounds 7]

Prints one JSON line per method: the median over rounds of (step / forward), where both are timed
in the same round, and beside it the same ratio of processor time (on a GPU's machine: of what the
CPU does), which cores taken by other machines hardly change, and of counted operations: a forward
pass and the backward pass to the inputs of every layer are 2.0, and attention's backward pass is
more than its forward pass. A step is zero_grad, forward in train mode, loss, backward and AdamW.
"floor" trains one bias below the first block and the classifier: what the host's own backward pass
takes, of which no method that starts so deep can do with less.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from _lines import Lines, add_results
from torch import nn

from foldtune import attach, load_backbone
from foldtune.core.edits import Edit, Train
from foldtune.core.method import Method
from foldtune.core.structure.names import bias_names
from foldtune.core.structure.sites import Site
from foldtune.judging.counters import count
from foldtune.judging.steptime import step_over_forward
from foldtune.methods import parse

FLOOR = "floor"
METHODS = (
    FLOOR,
    "LinearProbe",
    "BitFit",
    "LayerNorm",
    "SSF",
    "LoRA(rank=8)",
    "AdaptFormer(rank=8)",
    "Full",
)
# With a large batch the aim is near the floor; with a small one that of the first three methods.
LARGE = 32
AIMS = dict.fromkeys(("BitFit", "SSF", "LoRA(rank=8)"), "<= 2.3")
LARGE_AIMS = dict.fromkeys((*AIMS, "LayerNorm", "AdaptFormer(rank=8)"), "<= 2.15")


@dataclass(frozen=True, repr=False)
class Floor(Method):
    """The first bias of the host, and nothing else."""

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        return [Train(bias_names(model)[:1])]


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
    aims = LARGE_AIMS if asked.batch >= LARGE else AIMS
    for text in asked.methods:
        method = Floor() if text == FLOOR else parse(text)
        attachment = attach(backbone, method, num_classes=10, seed=0)
        counted = count(backbone.model, backbone.example(2)).step_over_forward
        found = step_over_forward(attachment, backbone.example(asked.batch), asked.rounds)
        attachment.detach()
        lines.tell(
            f"{text}: step / forward", found.median, "ratio", aims.get(text),
            lowest=min(found.ratios), highest=max(found.ratios), counted=counted,
            processor_ratio=statistics.median(found.processor_ratios),
            model=asked.model, batch=asked.batch, forward_seconds=found.forward_seconds,
        )  # fmt: skip


if __name__ == "__main__":
    main()
