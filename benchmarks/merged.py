"""A merged model's forward pass beside the plain backbone's: it must cost nothing.

    python benchmarks/merged.py [--batch 8] [--rounds 15] [--device cpu]

Both are timed in turn, plain first in one round and second in the next. Prints a JSON line a method
and host: the median over rounds of (merged / plain). The parameters that a merge adds where there
was no bias are counted beside it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from _lines import Lines, add_results
from torch import Tensor, nn

from foldtune import attach, load_backbone
from foldtune.errors import InputError
from foldtune.methods import parse

METHODS = ("SSF", "LoRA(rank=8)", "DoRA", "RepAdapter", "BitFit")
# The last has no bias at qkv.
HOSTS = (
    "vit_small_patch16_224", "swin_tiny_patch4_window7_224", "convnext_tiny",
    "vit_small_patch16_dinov3",
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--hosts", nargs="+", default=HOSTS)
    options.add_argument("--methods", nargs="+", default=METHODS)
    options.add_argument("--device", default="cpu")
    add_results(options)
    asked = options.parse_args()
    lines = Lines("merged", asked, asked.device)
    for host in asked.hosts:
        backbone = load_backbone(host, pretrained=host == "micro")
        if not any(p.numel() for p in backbone.model.get_classifier().parameters()):
            backbone.model.reset_classifier(10)  # published without one
        backbone.model.to(asked.device).eval()
        plain = copy.deepcopy(backbone.model)
        images = backbone.example(asked.batch)
        for text in asked.methods:
            own = copy.deepcopy(plain)
            try:
                attachment = attach(own, parse(text), example=backbone.example(2), seed=0)
            except InputError:  # the method has no place in this host
                continue
            merged = attachment.merge().eval()
            ratios = measured(plain, merged, images, asked.rounds)
            added = sum(p.numel() for p in merged.parameters()) - sum(
                p.numel() for p in plain.parameters()
            )
            lines.tell(
                f"{text} on {host}: merged / plain", statistics.median(ratios), "ratio",
                "0.98 to 1.02", lowest=min(ratios), highest=max(ratios), batch=asked.batch,
                parameters_added=added,
            )  # fmt: skip


def measured(plain: nn.Module, merged: nn.Module, images: Tensor, rounds: int) -> list[float]:
    """Ratios of merged to plain, whichever comes first."""
    for model in (plain, merged):
        forward(model, images)
    ratios = []
    for number in range(rounds):
        pair = (plain, merged) if number % 2 == 0 else (merged, plain)
        seconds = [timed(lambda m=model: forward(m, images), images) for model in pair]
        ratios.append(seconds[1] / seconds[0] if number % 2 == 0 else seconds[0] / seconds[1])
    return ratios


@torch.no_grad()
def forward(model: nn.Module, images: Tensor) -> Tensor:
    """The logits."""
    return model(images)


def timed(call: Callable[[], object], images: Tensor) -> float:
    """Seconds, the GPU waited for."""
    if images.device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if images.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
