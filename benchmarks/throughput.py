"""Training in images a second: our methods, HF PEFT's LoRA, and all of timm's plain model.

    python benchmarks/throughput.py --device cuda --model vit_base_patch16_224 --batch 128 \\
        --precision bf16 --compile --peak 989

A step takes a uint8 batch that lies on the device: crop, flip, normalise, forward, loss, backward,
AdamW: the same for every model, with our augmentation and groups of AdamW. All ways take turns; a
line each, with images a second over those of the plain model and of PEFT's, the largest memory
beyond what the models hold (on a GPU), and with --peak, the device's trillions of operations a
second at that precision, the share of it that the counted operations of forward and backward are.
With --compile or --channels-last every way is taken so as well, with images a second over those of
the same way without.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _lines import Lines, add_results
from torch import Tensor, nn

from foldtune import attach, load_backbone
from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.errors import InputError
from foldtune.judging.cost import wait
from foldtune.judging.counters import count
from foldtune.methods import parse
from foldtune.startup import keep_freed_memory
from foldtune.training.device import check_compiler, check_precision, tensor_float
from foldtune.training.optim.optimizer import build_optimizer
from foldtune.training.recipe import PRECISIONS, Recipe
from foldtune.training.regularise import set_drop_path

CLASSES, RANK = 100, 8
FULL, PEFT = "full by hand", f"HF PEFT LoRA(rank={RANK})"
COMPILED, CHANNELS_LAST = "compiled", "channels last"
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Way:
    """One way to train: what takes a step, its operations an image, and what the rounds gave."""

    step: Callable[[], object]
    flops: int
    speeds: list[float] = field(default_factory=list)
    memory: int = 0


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--model", default="micro")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--methods", nargs="+", default=("SSF", f"LoRA(rank={RANK})", "BitFit"))
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", choices=PRECISIONS, default="fp32")
    options.add_argument("--compile", action="store_true")
    options.add_argument("--channels-last", action="store_true")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--steps", type=int, default=10, help="of a round")
    options.add_argument("--peak", type=float, help="10^12 operations a second of the device")
    add_results(options)
    asked = options.parse_args()
    device = torch.device(asked.device)
    check_precision(asked.precision, device)
    if asked.compile:
        check_compiler(device)
        # A graph for each way: beyond the limit, 8, torch would leave one uncompiled, unseen.
        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    lines = Lines("throughput", asked, asked.device)
    keep_freed_memory()  # as the command line does
    with tensor_float(asked.precision == "tf32"):
        ways = _ways(asked, device)
        for way in ways.values():
            way.step()
            way.step()
        for _ in range(asked.rounds):
            for way in ways.values():
                _round(way, asked, device)
    for (name, how), way in ways.items():
        speed = statistics.median(way.speeds)
        facts: dict[str, Any] = {"images_per_second": speed}
        if (PEFT, "") in ways:
            facts["over_peft"] = _over(way, ways[PEFT, ""])
        if how:
            facts["over_plain"] = _over(way, ways[name, ""])
        if device.type == "cuda":
            facts["memory_mib"] = way.memory / 2**20
        if asked.peak:
            facts["share_of_peak"] = speed * way.flops / (asked.peak * 1e12)
        figure = f"{name}{how and f', {how}'}: images a second over {FULL}"
        lines.tell(
            figure, _over(way, ways[FULL, ""]), "ratio", **facts,
            model=asked.model, batch=asked.batch, precision=asked.precision,
        )  # fmt: skip


def _over(way: Way, other: Way) -> float:
    return statistics.median(a / b for a, b in zip(way.speeds, other.speeds, strict=True))


def _round(way: Way, asked: Any, device: torch.device) -> None:
    wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    started = time.perf_counter()
    for _ in range(asked.steps):
        way.step()
    wait(device)
    way.speeds.append(asked.steps * asked.batch / (time.perf_counter() - started))
    if device.type == "cuda":
        way.memory = torch.cuda.max_memory_allocated(device) - held


def _ways(asked: Any, device: torch.device) -> dict[tuple[str, str], Way]:
    """By the names of what is trained and of how: plainly (""), compiled, or channels last."""
    hows = ("", *[COMPILED] * asked.compile, *[CHANNELS_LAST] * asked.channels_last)
    ways: dict[tuple[str, str], Way] = {}
    for how in hows:
        for text in asked.methods:
            backbone = _loaded(asked)
            attachment = attach(backbone, parse(text), num_classes=CLASSES, seed=0)
            ways[text, how] = _way(attachment.model, backbone, asked, device, how)
        backbone = _loaded(asked)
        backbone.model.reset_classifier(CLASSES)
        ways[FULL, how] = _way(backbone.model, backbone, asked, device, how)
        with contextlib.suppress(InputError):
            ways[PEFT, how] = _way(_peft(_loaded(asked)), backbone, asked, device, how)
    return ways


def _loaded(asked: Any) -> Backbone:
    return load_backbone(asked.model, pretrained=asked.model == "micro")


def _peft(backbone: Backbone) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    model = backbone.model
    if not any(name.endswith("attn.qkv") for name, _ in model.named_modules()):
        raise InputError(f"{backbone.name} has no attention for LoRA on qkv")
    model.reset_classifier(CLASSES)
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=r".*attn\.qkv", modules_to_save=["head"]
    )
    found: nn.Module = get_peft_model(model, config)
    return found


def _way(model: nn.Module, backbone: Backbone, asked: Any, device: torch.device, how: str) -> Way:
    """`model` on the device, with its own optimizer, stepping on a batch of noise."""
    # The backbone may be another way's, which was moved to the device already.
    flops = count(model, backbone.example(2).to(next(model.parameters()).device))
    set_drop_path(model, 0.0)
    model.to(device).train()
    if how == CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, Recipe(lr=1e-5))
    forward = torch.compile(model, dynamic=False) if how == COMPILED else model
    prepare = prepare_for(backbone, ("crop:0.5", "flip"))
    draw, side = np.random.default_rng(0), backbone.transform.size
    pixels = draw.integers(0, 256, (asked.batch, side, side, 3), dtype=np.uint8)
    batch = torch.from_numpy(pixels).to(device)
    labels = torch.from_numpy(draw.integers(0, CLASSES, asked.batch)).to(device)
    generator = torch.Generator().manual_seed(0)
    scaler = torch.amp.GradScaler(device.type, enabled=asked.precision == "fp16")
    half = HALF.get(asked.precision)

    def step() -> Tensor:
        images = prepare(batch, generator)
        if how == CHANNELS_LAST:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, half, half is not None):
            loss = F.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return Way(step, flops.forward_flops + flops.backward_flops)


if __name__ == "__main__":
    main()
