"""The optimizer and its parameter groups."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
    times: float = 1.0,
) -> list[dict[str, Any]]:
    """The trainable parameters, named, in a group with decay and one without.

    Without decay: parameters of one dimension or none (gains, biases), and those that the host
    names in `no_weight_decay()`. With `decay_1d` everything decays, the host's names as well.
    The parameters named in `head` take `times` the learning rate, others what `own_rates` says, in
    groups of their own where that is not once: `rate` tells how many times a group takes. Empty
    groups are left out. Raises InputError where nothing is trainable.
    """
    exempt = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    own = own_rates(model)
    found: dict[tuple[bool, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in trainable(model).items():
        decays = decay_1d or (parameter.ndim > 1 and name not in exempt)
        rate = times if name in head else own.get(name, 1.0)
        found.setdefault((decays, rate), []).append((name, parameter))
    return [
        {"params": found[kind], "weight_decay": weight_decay if kind[0] else 0.0, "rate": kind[1]}
        for kind in sorted(found, key=lambda kind: (not kind[0], kind[1] != 1.0))
    ]


def own_rates(model: nn.Module) -> dict[str, float]:
    """How many times the learning rate a parameter takes, by name, as its module's `rate_times`."""
    return {
        f"{path}.{name}": times
        for path, module in model.named_modules()
        for name, times in getattr(module, "rate_times", {}).items()
    }


def head_times(recipe: Recipe, shapes: Iterable[torch.Size]) -> float:
    """How many times the learning rate a classifier takes, whose parameters have these shapes."""
    inputs = max((shape[-1] for shape in shapes if len(shape) > 1), default=0)
    if recipe.head_lr is None or not inputs:
        return 1.0
    return recipe.head_lr / (inputs * recipe.lr)


def build_optimizer(
    model: nn.Module, recipe: Recipe, head: Collection[str] = ()
) -> torch.optim.Optimizer:
    """AdamW (decoupled decay) or SGD with momentum; the loop sets the rate at every step.

    head: names of the classifier's parameters, for `recipe.head_lr`.
    """
    times = head_times(recipe, (p.shape for n, p in trainable(model).items() if n in head))
    groups = parameter_groups(model, recipe.weight_decay, recipe.decay_1d, head, times)
    # A method trains many small tensors, and a pass over each costs more than the update itself.
    devices = {p.device.type for p in trainable(model).values()}
    fused = devices <= {"cpu", "cuda", "mps", "xpu"}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=fused)
