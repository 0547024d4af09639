"""That a device computes what the CPU does: `micro` at 32 pixels, every method with its own bound.

Differences are largest ones, relative to the largest logit (or gradient) of the CPU's.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _lines import Lines
from torch import Tensor, nn

from foldtune import attach, load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.compute.sums import sums_by_channel
from foldtune.methods import parse
from foldtune.training.device import tensor_float
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe
from foldtune.training.speed.blocks import repeated_blocks
from foldtune.training.speed.graphs import GraphedStep
from foldtune.training.speed.narrow import KEPT, narrow
from foldtune.training.speed.witness import WAIT

CLASSES, SIDE = 10, 32
Tensors = dict[str, Tensor]


def check_all(lines: Lines, asked: Any, device: torch.device) -> list[str]:
    """Tell the figure of every check; the names of those beyond their bound."""
    wrong = []

    def tell_all(of: str, found: Iterator[tuple[str, float, str]]) -> None:
        try:
            for name, value, aim in found:
                figure = of + name
                if not lines.tell(figure, value, "", aim, model="micro")["met"]:
                    wrong.append(figure)
        except Exception as error:  # what is on a card for the first time tells all that it can
            wrong.append(f"{of}died of {told_once(error)}")

    with tensor_float(False):
        for text in asked.methods:
            tell_all(f"{text}: ", _of_method(text, asked, device))
        tell_all("sums by channel in bfloat16 ", _sums(device))
    for text in asked.methods[:2]:
        for trained in (_resumed, _graphed, _waits):
            tell_all(f"{text}: ", trained(text, asked))
    return wrong


def told_once(error: Exception) -> str:
    """The error in one line, its trace on the standard error."""
    traceback.print_exception(error)
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def _of_method(text: str, asked: Any, device: torch.device) -> Iterator[tuple[str, float, str]]:
    model, merge, x = _moved(text)
    logits, gradients = _pass(model, x)
    there, x_there = copy.deepcopy(model).to(device), x.to(device)
    own, own_gradients = _pass(there, x_there)
    yield "logits in fp32 against the CPU's", _gap(own, logits), "<= 1e-4"
    yield "gradients in fp32 against the CPU's", _worst(own_gradients, gradients), "<= 1e-3"
    if asked.precision == "bf16":
        with torch.autocast(device.type, torch.bfloat16):
            half, half_gradients = _pass(there, x_there)
        yield "logits in bf16 against fp32", _gap(half, logits), "<= 0.05"
        yield "gradients in bf16 against fp32", _worst(half_gradients, gradients), "<= 0.2"
        with narrow(there, KEPT), torch.autocast(device.type, torch.bfloat16):
            kept, kept_gradients = _pass(there, x_there)
        yield "logits frozen in bf16 against fp32", _gap(kept, logits), "<= 0.05"
        yield "gradients frozen in bf16 against fp32", _worst(kept_gradients, gradients), "<= 0.2"
    for block in repeated_blocks(there):
        block.compile(dynamic=False, backend=asked.backend)
    compiled, compiled_gradients = _pass(there, x_there)
    yield "logits compiled against plain", _gap(compiled, own), "<= 1e-4"
    yield "gradients compiled against plain", _worst(compiled_gradients, own_gradients), "<= 1e-3"
    if merge is not None:
        merged = merge(device)
        with torch.no_grad():
            yield "merged against attached", _gap(merged(x_there), own), "<= 1e-5"


def _moved(text: str) -> tuple[nn.Module, Callable[[torch.device], nn.Module] | None, Tensor]:
    """A model with a method, its tensors moved from their start; what merges it on a device, where
    the method can be; and images."""
    backbone = load_backbone("micro", size=SIDE)
    attachment = attach(backbone, parse(text), num_classes=CLASSES, seed=0)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)

    def merge(device: torch.device) -> nn.Module:
        attachment.model.to(device)
        return attachment.merge().eval()

    model = attachment.model.eval()
    return model, merge if attachment.mergeable else None, backbone.example(8)


def _pass(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensors]:
    """Logits, and the gradients of a loss."""
    logits = model(x)
    labels = torch.arange(len(x), device=x.device) % CLASSES
    model.zero_grad(set_to_none=True)
    F.cross_entropy(logits.float(), labels).backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return logits.detach(), found


def _gap(a: Tensor, b: Tensor) -> float:
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    return float((a - b).abs().max() / b.abs().max())


def _worst(a: Tensors, b: Tensors) -> float:
    """By the largest gradient of all: some are rounding alone (of what is added to every key)."""
    largest = max(float(g.abs().max()) for g in b.values())
    return max(float((a[n].cpu() - b[n].cpu()).abs().max()) for n in b) / largest


def _sums(device: torch.device) -> Iterator[tuple[str, float, str]]:
    draw = torch.Generator().manual_seed(0)
    dz, z = (torch.randn(3000, 192, generator=draw).bfloat16() for _ in range(2))
    along, total = sums_by_channel(dz.to(device), z.to(device), -1, torch.float32)
    exact = (dz.double() * z.double()).sum(0), dz.double().sum(0)
    yield "against float64", max(_gap(along, exact[0]), _gap(total, exact[1])), "<= 0.01"


def _graphed(text: str, asked: Any) -> Iterator[tuple[str, float, str]]:
    """How far the logits after a training in float32 differ where its steps are recorded, and how
    many reasons not to record them it told."""
    asked = argparse.Namespace(**{**vars(asked), "precision": "fp32"})
    told: list[logging.LogRecord] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = told.append  # type: ignore[method-assign]
    logger = logging.getLogger(GraphedStep.__module__)
    logger.addHandler(listener)
    x, found = load_backbone("micro", size=SIDE).example(8), []
    try:
        for recorded in (False, True):
            model = _trained(text, asked, None, 0, 6, cuda_graphs=recorded)
            with torch.no_grad():
                found.append(model(x.to(asked.device)))
    finally:
        logger.removeHandler(listener)
    for record in told:
        print(f"# {record.getMessage()}", file=sys.stderr, flush=True)
    gap = _gap(found[1], found[0])
    yield "logits after a training as CUDA graphs against plain", gap, "<= 1e-3"
    yield "reasons not to record a step", len(told), "= 0"


class _Stopped(Exception):
    """A training was stopped on purpose."""


def _resumed(text: str, asked: Any) -> Iterator[tuple[str, float, str]]:
    """How many tensors differ between a training and the same stopped after its first epoch."""
    found = []
    for stop in (0, 1):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "checkpoint"
            if stop:
                with suppress(_Stopped):
                    _trained(text, asked, file, stop + 1)
            found.append(_trained(text, asked, file, 0).state_dict())
    differ = sum(not torch.equal(value, found[1][name]) for name, value in found[0].items())
    yield "tensors that differ after resuming", differ, "= 0"


def _trained(
    text: str, asked: Any, file: Path | None, stop: int, epochs: int = 3, **changes: Any
) -> nn.Module:
    backbone = load_backbone("micro", size=SIDE)
    attachment = attach(backbone, parse(text), num_classes=CLASSES, seed=0)
    images = 8 if asked.toy else 256
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
    labels = draw.integers(0, CLASSES, images)

    def evaluate(epoch: int) -> dict[str, float]:
        if stop and epoch == stop:
            raise _Stopped
        return {}

    recipe = Recipe(epochs=epochs, batch_size=8, precision=asked.precision, **changes)
    train(
        attachment.model, pixels, labels, np.arange(images), recipe, seed=0,
        prepare=prepare_for(backbone, ("crop:0.5", "flip")), evaluate=evaluate, checkpoint=file,
        device=asked.device,
    )  # fmt: skip
    return attachment.model


def _waits(text: str, asked: Any) -> Iterator[tuple[str, float, str]]:
    """Waits for the device in a step, few of an epoch's end among them: those of three epochs
    beyond those of two, over the steps of one. A CPU has none."""
    if not asked.device.startswith("cuda"):
        return
    counts = []
    for epochs in (2, 3):
        with warnings.catch_warnings(record=True) as told, _telling_of_waits():
            warnings.simplefilter("always")
            _trained(text, asked, None, 0, epochs)
        counts.append(sum(WAIT in str(one.message) for one in told))
    steps = (8 if asked.toy else 256) / 8
    yield "waits for the device in a step", (counts[1] - counts[0]) / steps, "<= 1.2"


@contextmanager
def _telling_of_waits() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
