"""What training and evaluation ask of any host model: its modes and its logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from foldtune.errors import InputError
from foldtune.training.recipe import Recipe
from foldtune.training.regularise import drop_path
from foldtune.training.speed.recompute import recomputed_blocks


def train_mode(model: nn.Module) -> None:
    """Set train mode, but leave frozen normalisations on their running statistics.

    A batch norm whose own parameters are all frozen is part of the frozen backbone: in train mode
    it would go on moving its statistics, which no tuning stores. One without parameters, as some
    heads have, learns its statistics.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            own = list(module.parameters())
            if own and not any(p.requires_grad for p in own):
                module.eval()


def least_images(model: nn.Module) -> int:
    """The fewest images that a training step may have: 2 where a BatchNorm takes their statistics,
    since one has no variance, else 1. The model comes back in train mode."""
    train_mode(model)
    return 2 if any(isinstance(m, _BatchNorm) and m.training for m in model.modules()) else 1


def host_logits(output: object) -> Tensor:
    """The logits (batch, classes) in what a host's forward returns; transformers wrap them."""
    logits = getattr(output, "logits", output)
    if isinstance(logits, Tensor) and logits.ndim == 2:
        return logits
    shape = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else "no tensor"
    raise InputError(
        f"the model gives {type(output).__name__} with {shape}; "
        "logits of shape (batch, classes) are needed: does it have a classifier?"
    )


@contextmanager
def fast_attention(model: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """timm's attention written out inside, where torch's fused kernel is slow; as it was after.

    In bf16 on a CPU the fused kernel's backward takes ten times as long as two matrix products
    and a softmax (torch 2.13, AMX; 256 x 4 heads x 17 tokens: 148 ms and 15 ms). It is the host's
    own switch, and both compute the same but for rounding.
    """
    slow = device.type == "cpu" and precision in ("bf16", "bf16-kept")
    switched = [m for m in model.modules() if slow and getattr(m, "fused_attn", None) is True]
    for module in switched:
        module.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in switched:
            module.fused_attn = True  # type: ignore[assignment]


# Their gradient is computed from what they are given, not from what they give.
_OF_INPUTS = (nn.Hardtanh, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Mish)


@contextmanager
def activations_apart(model: nn.Module) -> Iterator[None]:
    """Activations that would overwrite what their gradient needs write elsewhere inside.

    Autograd copies what such a one overwrites, and only then overwrites it: the same memory and the
    same bits for one pass more, 5 % of a step of EfficientNet-Lite0 (ReLU6).
    """
    switched = [m for m in model.modules() if isinstance(m, _OF_INPUTS) and m.inplace]
    for module in switched:
        module.inplace = False
    try:
        yield
    finally:
        for module in switched:
            module.inplace = True


@contextmanager
def lend_model(model: nn.Module, recipe: Recipe, device: torch.device) -> Iterator[None]:
    """The model for the time of a training: own drop path inside, eval and no gradients after."""
    with (
        drop_path(model, recipe.drop_path),
        fast_attention(model, recipe.precision, device),
        activations_apart(model),
        recomputed_blocks(model, recipe.recompute),
    ):
        try:
            yield
        finally:
            model.eval()
            model.zero_grad(set_to_none=True)
