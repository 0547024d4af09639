"""A LoRA training step beside HF PEFT's on the same timm model: time and activations kept.

    python benchmarks/against_peft.py [--model vit_small_patch16_224] [--batch 16] [--rounds 9]

Prints a JSON line a figure: the median over rounds of (our step / PEFT's step), timed in the same
round and in turn, the bytes that autograd keeps per image on either side, and the largest
difference of logits once both hold the same factors. PEFT 0.21.2 is a test dependency.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _lines import Lines, add_results
from torch import Tensor, nn

from foldtune import attach, load_backbone
from foldtune.judging.counters import count
from foldtune.methods import parse
from foldtune.training.regularise import set_drop_path

RANK = 8


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="vit_small_patch16_224")
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--rounds", type=int, default=9)
    add_results(options)
    asked = options.parse_args()
    backbone = load_backbone(asked.model, pretrained=asked.model == "micro")
    from peft import LoraConfig, get_peft_model  # after torchvision was made importable

    images = backbone.example(asked.batch)
    labels = torch.arange(asked.batch) % 10
    plain = copy.deepcopy(backbone.model)
    attachment = attach(backbone, parse(f"LoRA(rank={RANK})"), num_classes=10, seed=0)
    plain.reset_classifier(10)
    plain.load_state_dict(attachment.base_state(), strict=False)
    head = attachment.head[0]
    plain.get_submodule(head).load_state_dict(attachment.model.get_submodule(head).state_dict())
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=r".*attn\.qkv", modules_to_save=[head]
    )
    theirs = get_peft_model(plain, config)
    _share(attachment.model, theirs)
    with torch.no_grad():
        gap = (attachment.model.eval()(images) - theirs.eval()(images)).abs().max()
    for model in (attachment.model, theirs):
        set_drop_path(model, 0.0)
    steps = [_step(m, images, labels) for m in (attachment.model, theirs)]
    for step in steps:
        step()
    pairs = [(_timed(steps[0]), _timed(steps[1])) for _ in range(asked.rounds)]
    ratios = [ours / peft for ours, peft in pairs]
    lines, name = Lines("against_peft", asked), f"LoRA(rank={RANK})"
    facts = {"model": asked.model, "batch": asked.batch}
    lines.tell(
        f"{name}: our step / PEFT's", statistics.median(ratios), "ratio", "<= 1.0",
        lowest=min(ratios), highest=max(ratios), **facts,
    )  # fmt: skip
    saved = [count(m, images[:2]).saved_bytes / 2**20 for m in (attachment.model, theirs)]
    lines.tell(
        f"{name}: activations kept, ours / PEFT's", saved[0] / saved[1], "ratio", "<= 1.0",
        our_mib=saved[0], their_mib=saved[1], **facts,
    )  # fmt: skip
    lines.tell(f"{name}: largest difference of logits", float(gap), "", "<= 1e-5", **facts)


def _share(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy our factors into PEFT's layers, in the order of the blocks."""
    named = [(n, p) for n, p in theirs.named_parameters() if ".lora_" in n]
    mine = [(n, p) for n, p in ours.named_parameters() if ".lora_" in n]
    with torch.no_grad():
        for letter in "AB":
            pairs = ([p for n, p in group if f"lora_{letter}" in n] for group in (named, mine))
            for target, source in zip(*pairs, strict=True):
                source.normal_(0, 0.02)
                target.copy_(source)


def _step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def _timed(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
