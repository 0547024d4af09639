"""The optimizer and its parameter groups."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from foldtune.errors import InputError
from foldtune.training.recipe import Recipe


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name; a shared one once. Raises InputError if there is none."""
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise InputError(
            f"{type(model).__name__} has no trainable parameter: all are frozen; "
            "attach a method, or set requires_grad on what should train"
        )
    return found


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    decay_1d: bool = False,
    head: Collection[str] = (),
    head_lr: float = 1.0,
) -> list[dict[str, Any]]:
    """The trainable parameters, named, in a group with decay and one without.

    Without decay: parameters of one dimension or none (gains, biases), and those that the host
    names in `no_weight_decay()`. With `decay_1d` everything decays, the host's names as well.
    The parameters named in `head` have groups of their own, where head_lr is not 1: `rate` tells
    how many times the learning rate a group takes. Empty groups are left out. Raises InputError
    where nothing is trainable.
    """
    exempt = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    found: dict[tuple[bool, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in trainable(model).items():
        decays = decay_1d or (parameter.ndim > 1 and name not in exempt)
        rate = head_lr if name in head else 1.0
        found.setdefault((decays, rate), []).append((name, parameter))
    return [
        {"params": found[kind], "weight_decay": weight_decay if kind[0] else 0.0, "rate": kind[1]}
        for kind in sorted(found, key=lambda kind: (not kind[0], kind[1] != 1.0))
    ]


def build_optimizer(
    model: nn.Module, recipe: Recipe, head: Collection[str] = ()
) -> torch.optim.Optimizer:
    """AdamW (decoupled decay) or SGD with momentum; the loop sets the rate at every step.

    head: names of the classifier's parameters, which take `recipe.head_lr` times the rate.
    """
    groups = parameter_groups(model, recipe.weight_decay, recipe.decay_1d, head, recipe.head_lr)
    # A method trains many small tensors, and a pass over each costs more than the update itself.
    devices = {p.device.type for p in trainable(model).values()}
    fused = devices <= {"cpu", "cuda", "mps", "xpu"}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=fused)
