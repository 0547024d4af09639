"""Drop path, mixup and cutmix, and the loss that takes mixed labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.errors import InputError
from foldtune.training.recipe import Recipe

Mixer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def drop_path_modules(model: nn.Module) -> list[nn.Module]:
    """The host's stochastic-depth modules, in order: timm's DropPath, and transformers' twins."""
    return [
        module
        for module in model.modules()
        if type(module).__name__.endswith("DropPath")
        and isinstance(getattr(module, "drop_prob", None), (int, float))
    ]


def set_drop_path(model: nn.Module, rate: float) -> list[float]:
    """Give the host's DropPath modules `rate` at the deepest; return the rates they had.

    The rates keep the host's own profile over depth (linear from 0, Huang et al., ECCV 2016, as
    the hosts build it), scaled so that the largest is `rate`. Where all are zero the profile is
    lost, and they rise linearly in module order. Raises InputError where rate > 0 finds no module:
    hosts put an Identity there when they are built with rate 0.
    """
    modules = drop_path_modules(model)
    if not modules and rate > 0:
        raise InputError(
            f"drop_path={rate} has nothing to act on: {type(model).__name__} holds no DropPath "
            f"module; build it with timm.create_model(..., drop_path_rate={rate}), or set "
            "drop_path=0"
        )
    before = [float(module.drop_prob) for module in modules]  # type: ignore[arg-type]
    largest = max(before, default=0.0)
    for number, module in enumerate(modules, start=1):
        share = before[number - 1] / largest if largest > 0 else number / len(modules)
        module.drop_prob = rate * share  # type: ignore[assignment]
    return before


@contextmanager
def drop_path(model: nn.Module, rate: float) -> Iterator[None]:
    """Train at this drop-path rate; the host's own rates come back after."""
    before = set_drop_path(model, rate)
    try:
        yield
    finally:
        for module, own in zip(drop_path_modules(model), before, strict=True):
            module.drop_prob = own  # type: ignore[assignment]


def mixer(recipe: Recipe, classes: int) -> Mixer | None:
    """Mixup (Zhang et al., ICLR 2018) or cutmix (Yun et al., ICCV 2019); None where both are off.

    It maps images (batch, channels, height, width) and labels (batch,) to mixed images and labels
    (batch, classes). It draws from torch's global generator, which the loop seeds for each epoch.
    timm's Mixup draws from NumPy's global generator instead, which no seed of ours reaches.
    """
    if recipe.mixup == 0 and recipe.cutmix == 0:
        return None
    from foldtune.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from torchvision.transforms import v2

    kinds: list[Mixer] = []
    if recipe.mixup > 0:
        kinds.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix > 0:
        kinds.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))
    return kinds[0] if len(kinds) == 1 else v2.RandomChoice(kinds)


def loss_of(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The mean cross entropy of logits (batch, classes), in float32, or float64 if they are.

    targets: labels (batch,), or shares (batch, classes or fewer): missing classes have share 0.
    """
    targets = _widen(targets, logits.shape[1])
    return F.cross_entropy(_wide(logits), targets, label_smoothing=smoothing)


def losses_of(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """`loss_of` for each of several models on the same batch, (models,), within rounding.

    logits: (batch, models, classes). The models come last in the softmax: over a last axis of few
    classes it is seven times slower on a CPU (torch 2.13).
    """
    models, classes = logits.shape[1:]
    targets = _widen(targets, classes)
    beside = targets[..., None].expand(*targets.shape, models)
    each = F.cross_entropy(
        _wide(logits).transpose(1, 2), beside, label_smoothing=smoothing, reduction="none"
    )
    return each.mean(0)


def _widen(targets: Tensor, classes: int) -> Tensor:
    """Shares with a column for each class; labels as they are."""
    return F.pad(targets, (0, classes - targets.shape[1])) if targets.ndim == 2 else targets


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
