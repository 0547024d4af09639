"""Ways to train a backbone that take turns: our methods, HF PEFT's LoRA, all of timm's own model.

A step takes a uint8 batch that lies on the device: crop, flip, normalise, forward, loss, backward,
AdamW: the same for every model, with our augmentation and groups of AdamW.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune import attach, load_backbone
from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.errors import InputError
from foldtune.judging.cost import wait
from foldtune.judging.counters import count
from foldtune.methods import parse
from foldtune.training.device import prepare_model
from foldtune.training.optim.optimizer import build_optimizer, trainable
from foldtune.training.recipe import Recipe
from foldtune.training.regularise import loss_of, set_drop_path
from foldtune.training.speed.blocks import repeated_blocks
from foldtune.training.speed.graphs import GraphedStep
from foldtune.training.speed.narrow import KEPT, narrow
from foldtune.training.speed.passes import Passes
from foldtune.training.speed.step import Step

CLASSES, RANK = 100, 8
FULL, PEFT = "full by hand", f"HF PEFT LoRA(rank={RANK})"
PLAIN, COMPILED, CHANNELS_LAST = "", "compiled", "channels last"
NARROW, NARROW_COMPILED = "frozen in bf16", "frozen in bf16, compiled"
GRAPHED = "graphed"  # whole steps as CUDA graphs, as `foldtune --cuda-graphs` makes them
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Way:
    """One way to train: what takes a step, its operations an image, and what the rounds gave."""

    step: Callable[[], object]
    flops: int
    held: object = None  # what must live as long
    speeds: list[float] = field(default_factory=list)
    memory: int = 0

    @property
    def speed(self) -> float:
        """Images a second, the median over the rounds."""
        return statistics.median(self.speeds)

    def over(self, other: Way) -> float:
        """Images a second over those of another way, round by round."""
        return statistics.median(a / b for a, b in zip(self.speeds, other.speeds, strict=True))

    def share(self, peak: float) -> float:
        """The share of `peak` operations a second that the counted ones are."""
        return self.speed * self.flops / peak


def add_round(way: Way, steps: int, batch: int, device: torch.device) -> None:
    """Time so many steps, and on a GPU the largest memory beyond what is held between them."""
    wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    started = time.perf_counter()
    for _ in range(steps):
        way.step()
    wait(device)
    way.speeds.append(steps * batch / (time.perf_counter() - started))
    if device.type == "cuda":
        way.memory = torch.cuda.max_memory_allocated(device) - held


def way_of(text: str, how: str, asked: Any, device: torch.device) -> Way:
    """The way by what is trained (a method, FULL or PEFT) and how. Raises InputError where HF
    PEFT's has no place in the host."""
    backbone = loaded(asked)
    if text == FULL:
        backbone.model.reset_classifier(CLASSES)
        return _way(backbone.model, backbone, asked, device, how)
    if text == PEFT:
        return _way(_peft(backbone), backbone, asked, device, how)
    attachment = attach(backbone, parse(text), num_classes=CLASSES, seed=0)
    return _way(attachment.model, backbone, asked, device, how)


def refuse_uncompiled() -> None:
    """Let it be an error that torch leaves a way uncompiled, which it would do unseen."""
    config: Any = torch._dynamo.config
    for name in ("fail_on_recompile_limit_hit", "fail_on_cache_limit_hit"):  # the latter in 2.6
        if hasattr(config, name):
            setattr(config, name, True)


def loaded(asked: Any) -> Backbone:
    """The backbone, with its own weights where the package has them."""
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


def _compiled(model: nn.Module, asked: Any) -> None:
    """Every block in place, as `foldtune --compile` does; the whole where nothing repeats."""
    for part in repeated_blocks(model) or [model]:
        part.compile(dynamic=False, backend=getattr(asked, "backend", "inductor"))


def _way(model: nn.Module, backbone: Backbone, asked: Any, device: torch.device, how: str) -> Way:
    """`model` on the device, with its own optimizer, stepping on a batch of noise."""
    model.to(device)
    flops = count(model, backbone.example(2))
    set_drop_path(model, 0.0)
    model.train()
    if how == CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    narrowed = narrow(model, KEPT if how in (NARROW, NARROW_COMPILED) else "")
    narrowed.__enter__()
    if how in (COMPILED, NARROW_COMPILED):
        _compiled(model, asked)
    optimizer = build_optimizer(model, Recipe(lr=1e-5))
    prepare = prepare_for(backbone, ("crop:0.5", "flip"))
    draw, side = np.random.default_rng(0), backbone.transform.size
    pixels = draw.integers(0, 256, (asked.batch, side, side, 3), dtype=np.uint8)
    batch = torch.from_numpy(pixels).to(device)
    labels = torch.from_numpy(draw.integers(0, CLASSES, asked.batch)).to(device)
    generator = torch.Generator().manual_seed(0)
    operations = flops.forward_flops + flops.backward_flops
    if how == GRAPHED:
        graphed, prepared = _graphed(model, optimizer, asked, device)
        return Way(lambda: graphed(prepare(batch, generator), labels), operations, prepared)
    scaler = torch.amp.GradScaler(device.type, enabled=asked.precision == "fp16")
    half = HALF.get(asked.precision)

    def step() -> Tensor:
        images = prepare(batch, generator)
        if how == CHANNELS_LAST:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, half, half is not None):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return Way(step, operations, narrowed)


def _graphed(
    model: nn.Module, optimizer: torch.optim.Optimizer, asked: Any, device: torch.device
) -> tuple[Callable[[Tensor, Tensor], None], object]:
    """What makes a step on a batch as a training with cuda_graphs does, and what holds it."""
    prepared = prepare_model(model, asked.precision, str(device))
    passes = Passes(model, prepared.__enter__(), lambda x, y: loss_of(x, y, 0.0), CLASSES)
    step = Step(passes, optimizer, list(trainable(model).values()), None, None)
    graphed = GraphedStep(step, Recipe(), device, asked.batch)
    return lambda images, labels: graphed(images, labels, 1e-5, lambda loss: None), prepared
