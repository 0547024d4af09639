"""Device, precision and compiler, leaving no trace on the model or the process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import nn

from foldtune.errors import InputError
from foldtune.training.speed.blocks import compiled_blocks, many_graphs
from foldtune.training.speed.narrow import HALVES, KEPT, narrow

_ACCELERATE = {"fp32": "no", "tf32": "no", "bf16": "bf16", KEPT: "bf16", "fp16": "fp16"}
# The attributes that Accelerate's prepare_model sets on a model (1.15).
_WRITTEN = ("forward", "_original_forward", "_is_accelerate_prepared")


@dataclass(frozen=True)
class Prepared:
    """A model on its device. `forward` is the model, what Accelerate wraps around it (DDP), or
    either one compiled; its blocks may be compiled within."""

    accelerator: Accelerator
    device: torch.device
    forward: Callable[[torch.Tensor], Any]
    channels_last: bool


@contextmanager
def prepare_model(
    model: nn.Module,
    precision: str,
    device: str | None,
    compiled: bool = False,
    channels_last: bool | None = None,
) -> Iterator[Prepared]:
    """The model on a device at a precision, for the time of one training.

    device: "cpu", "cuda", "cuda:1", ...; None takes Accelerate's choice, the GPU where there is
    one. In a distributed run every process has its own device and only None or a type is taken.
    compiled: the blocks go through torch.compile, or all of a model that repeats none, with static
    shapes: some seconds at first, and values that differ from the plain ones by rounding.
    channels_last: the weights of convolutions in that memory format inside, contiguous after; None:
    where that is faster, see `faster_channels_last`.
    The model stays on the device. Raises InputError for a device, precision or compiler that cannot
    be had.
    """
    wanted = parse_device(device)
    with _own_state(wanted):
        cpu = wanted is not None and wanted.type == "cpu"
        state = PartialState(cpu=cpu)
        where = state.device if wanted is None or state.num_processes > 1 else wanted
        check_precision(precision, where)
        accelerator = Accelerator(
            mixed_precision=_ACCELERATE[precision], cpu=cpu, device_placement=False
        )
        if accelerator.device.type != where.type:
            raise InputError(f"device {device!r}: Accelerate gives {accelerator.device} here")
        model.to(where)
        if channels_last is None:
            channels_last = faster_channels_last(model, where, precision)
        with (
            _memory_format(model, channels_last),
            tensor_float(precision == "tf32"),
            narrow(model, precision),
            _compiler(compiled, model, where) as compile_,
        ):
            yield Prepared(accelerator, where, compile_(_wrap(accelerator, model)), channels_last)


def parse_device(device: str | None) -> torch.device | None:
    """The named device, or None for None; InputError where it is unknown or not here."""
    if device is None:
        return None
    try:
        parsed = torch.device(device)
    except RuntimeError:
        raise InputError(
            f"unknown device {device!r}; choose from: cpu, cuda, cuda:1, mps"
        ) from None
    if parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r} is not here: {torch.cuda.device_count()} GPUs are seen"
        )
    if parsed.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {device!r} is not here")
    return parsed


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a half precision that a CPU would emulate; InputError names the reason."""
    if precision == "tf32" and device.type != "cuda":
        raise InputError(f"precision tf32 needs an NVIDIA GPU, not {device.type}; use fp32")
    if device.type != "cpu" or precision == "fp32":
        return
    if precision == "fp16":
        raise InputError("precision fp16 needs a GPU; on a CPU use fp32, or bf16 where it has it")
    abilities = _abilities()
    if not (abilities.get("avx512_bf16") or abilities.get("amx_bf16") or abilities.get("bf16")):
        raise InputError(
            f"precision {precision} is refused on this CPU: it has neither avx512_bf16 nor "
            "amx_bf16, and emulating them was measured 12 to 280 times slower than fp32; use fp32"
        )


def _abilities() -> dict[str, bool]:
    """What this CPU computes in; older torch (2.6) tells of one half precision alone."""
    if hasattr(torch.cpu, "get_capabilities"):
        return dict(torch.cpu.get_capabilities())
    return {"avx512_bf16": torch.cpu._is_avx512_bf16_supported()}


def faster_channels_last(model: nn.Module, device: torch.device, precision: str = "fp32") -> bool:
    """Whether this model trains faster with channels last: with depth-wise convolutions on a CPU,
    as a network of convolutions in half precision on an NVIDIA GPU.

    One thread, batches of 8 to 64 at 96 pixels, its time over that of contiguous images, in turn:
    EfficientNet-Lite0 0.60, MobileNetV3 0.80, MobileNetV4 0.87, PoolFormer 0.85, RegNetY 0.9,
    ConvNeXt 0.99. Networks of dense convolutions alone gain nothing that stands out from noise.

    On a GPU nothing was measured here: tensor cores take channels last, and cuDNN reorders what
    lies otherwise (NVIDIA, Convolutional Layers User's Guide); PyTorch's tutorial on the memory
    format has 8 to 35 % more images a second in float16, networks of depth-wise convolutions among
    them. A patch embedding alone, as a ViT's, is no network of convolutions.
    """
    spatial = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
    ]
    if device.type == "cuda":
        return precision in HALVES and len(spatial) > 1
    return device.type == "cpu" and any(module.groups > 1 for module in spatial)


@contextmanager
def _memory_format(model: nn.Module, channels_last: bool) -> Iterator[None]:
    if not channels_last:
        yield
        return
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@contextmanager
def tensor_float(wanted: bool) -> Iterator[None]:
    """Inside, float32 products may round their factors to ten bits, if wanted; as it was after.

    Unwanted, convolutions on an NVIDIA GPU may not either, which cuDNN does by itself: a model that
    scales its patch embedding would differ from its merged one by a thousandth, not by a millionth.
    Where the caller asked torch for such products, it stays as asked.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if wanted else before)
    try:
        with _convolutions(wanted or before != "highest"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _convolutions(rounded: bool) -> Iterator[None]:
    try:
        before = torch.backends.cudnn.allow_tf32
    except RuntimeError:  # set by the newer names of these settings, apart for each kind: stays
        yield
        return
    torch.backends.cudnn.allow_tf32 = rounded
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _compiler(wanted: bool, model: nn.Module, device: torch.device) -> Iterator[Any]:
    """What to put a wrapped model through: torch.compile, or nothing, where the model's own blocks
    are compiled already or nothing should be."""
    if not wanted:
        yield lambda wrapped: wrapped
        return
    check_compiler(device)
    with compiled_blocks(model) as done:
        if done:
            yield lambda wrapped: wrapped
            return
        with many_graphs():
            yield lambda wrapped: torch.compile(wrapped, dynamic=False)


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where torch.compile lacks what it needs; InputError names it."""
    if device.type == "cpu":
        name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(name) is None:
            raise InputError(
                f"compile needs a C++ compiler, and {name} is not here; install one, name it in "
                "CXX, or train without"
            )
    elif device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise InputError("compile needs the package triton on a GPU; install it, or train without")


def _wrap(accelerator: Accelerator, model: nn.Module) -> nn.Module:
    """The model as Accelerate wraps it (DDP), without what Accelerate writes on the model itself.

    For mixed precision it replaces `model.forward` by one under autocast (1.15), which would
    outlive the training and reach the caller's evaluation. The loop opens
    `accelerator.autocast()` itself, to the same effect.
    """
    own = {name: model.__dict__[name] for name in _WRITTEN if name in model.__dict__}
    wrapped = accelerator.prepare_model(model)
    for name in _WRITTEN:
        model.__dict__.pop(name, None)
    model.__dict__.update(own)
    return wrapped


@contextmanager
def _own_state(wanted: torch.device | None) -> Iterator[None]:
    """Fresh Accelerate state inside, the caller's outside.

    Accelerate keeps one state per process and refuses a second Accelerator of another precision,
    so each training starts from an empty one. The process group of a distributed run is in
    PartialState, which is then kept.
    """
    fresh = [AcceleratorState._shared_state, GradientState._shared_state]
    if not _is_distributed():
        fresh.append(PartialState._shared_state)
    before = [dict(state) for state in fresh]
    for state in fresh:
        state.clear()
    try:
        yield
    finally:
        for state, own in zip(fresh, before, strict=True):
            state.clear()
            state.update(own)


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
