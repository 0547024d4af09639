"""The optimizer and its parameter groups."""

from __future__ import annotations

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
    model: nn.Module, weight_decay: float, decay_1d: bool = False
) -> list[dict[str, Any]]:
    """The trainable parameters, named, in a group with decay and one without.

    Without decay: parameters of one dimension or none (gains, biases), and those that the host
    names in `no_weight_decay()`. With `decay_1d` everything decays, the host's names as well.
    Empty groups are left out. Raises InputError where nothing is trainable.
    """
    exempt = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    decayed: list[tuple[str, nn.Parameter]] = []
    plain: list[tuple[str, nn.Parameter]] = []
    for name, parameter in trainable(model).items():
        decays = decay_1d or (parameter.ndim > 1 and name not in exempt)
        (decayed if decays else plain).append((name, parameter))
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW (decoupled decay) or SGD with momentum; the loop sets the rate at every step."""
    groups = parameter_groups(model, recipe.weight_decay, recipe.decay_1d)
    # A method trains many small tensors, and a pass over each costs more than the update itself.
    devices = {p.device.type for p in trainable(model).values()}
    fused = devices <= {"cpu", "cuda", "mps", "xpu"}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=fused)
