"""Several trials of one model as rows of one tensor: their logits in one pass, their steps in one.

What the trials share is computed once: all that stands before the first tensor that trains.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from foldtune.core.compute.mapped import Mapped
from foldtune.core.tensors import send
from foldtune.errors import InputError
from foldtune.training.host import host_logits
from foldtune.training.optim.optimizer import (
    build_optimizer,
    head_times,
    own_rates,
    parameter_groups,
    trainable,
)
from foldtune.training.recipe import NO_REMEDY, Recipe

_EPSILON = 1e-8  # torch.optim.AdamW's default
_CLIP_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_'s


class Stack(nn.Module):
    """A model with several values of its trainable tensors, which start as the model's own.

    values: (trials, numbers), all tensors of a trial one behind the other. Called with images
    (batch, ...), it gives the logits (batch, trials * classes), the trials beside each other. The
    model's own tensors are not used, nor changed but by `put`. Raises InputError where the tensors
    are of several dtypes, and in a call where vmap cannot map the model: it draws random numbers
    (dropout), moves statistics, or branches on a value.
    """

    def __init__(self, model: nn.Module, trials: int) -> None:
        super().__init__()
        self.model = model
        found = trainable(model)
        if len({p.dtype for p in found.values()}) > 1:
            raise InputError(f"{type(model).__name__} trains tensors of several dtypes; none stack")
        self.shapes = {name: p.shape for name, p in found.items()}
        row = flatten_all([p.detach() for p in found.values()])
        self.values = row.repeat(trials, 1).requires_grad_()

    def __len__(self) -> int:
        return len(self.values)

    def forward(self, images: Tensor) -> Tensor:
        own = self.parts(self.values)
        if type(self.model) is nn.Linear and all(p.requires_grad for p in self.model.parameters()):
            # vmap's own work would take longer than the layers, which are one wide layer.
            bias = own["bias"].flatten() if "bias" in own else None
            return F.linear(images, own["weight"].flatten(0, 1), bias)
        try:
            with Mapped():
                logits = vmap(self._one, in_dims=(0, None), out_dims=1)(own, images)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise InputError(
                f"{type(self.model).__name__} cannot be stacked ({str(error).partition('.')[0]}); "
                "train its trials one after the other"
            ) from None
        return logits.flatten(1)

    def parts(self, rows: Tensor) -> dict[str, Tensor]:
        """The tensors by name that lie in `rows` (..., numbers), as views."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        pieces = rows.split(sizes, -1)
        return {
            name: piece.view(*rows.shape[:-1], *shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    @torch.no_grad()
    def put(self, row: Tensor) -> None:
        """Copy one row (numbers,) into the model's own tensors."""
        live = trainable(self.model)
        for name, part in self.parts(row).items():
            live[name].copy_(part)

    @torch.no_grad()
    def take(self, row: int) -> None:
        """The reverse of `put`: the model's own tensors into a row."""
        self.values[row] = flatten_all(list(trainable(self.model).values()))

    def keep(self, which: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self.values = self.values.detach()[list(which)].requires_grad_()

    def _one(self, own: dict[str, Tensor], images: Tensor) -> Tensor:
        return host_logits(functional_call(self.model, own, (images,)))


class RowOptimizer:
    """AdamW or SGD as torch has them, on the rows of a stack, each with its own rate and decay.

    recipes: one for each row, which differ in rates and decay alone. head: names of the
    classifier's parameters, for the recipes' `head_lr`.
    """

    def __init__(self, stack: Stack, recipes: Sequence[Recipe], head: Collection[str] = ()) -> None:
        self.stack, self.recipe, self.head = stack, recipes[0], head
        groups = parameter_groups(stack.model, 1.0, self.recipe.decay_1d)
        decays = {name for g in groups if g["weight_decay"] for name, _ in g["params"]}
        values = stack.values.detach()
        parts = [values.new_full(s, n in decays) for n, s in stack.shapes.items()]
        self._decayed = flatten_all(parts)
        own = flatten_all([values.new_full(s, n in head) for n, s in stack.shapes.items()])
        shapes = [shape for name, shape in stack.shapes.items() if name in head]
        times = values.new_tensor([[head_times(r, shapes)] for r in recipes])
        # Of one number a row where that is enough: a pass over all is as costly as the update.
        self._times = times if own.all() else 1 + own * (times - 1)
        if (times == 1).all():
            self._times = torch.ones_like(times)
        rates = own_rates(stack.model)
        if rates:
            parts = [values.new_full(s, rates.get(n, 1.0)) for n, s in stack.shapes.items()]
            self._times = self._times * flatten_all(parts)
        self._decay = values.new_tensor([[r.weight_decay] for r in recipes])
        self.names = ("exp_avg", "exp_avg_sq") if self._adam else ("momentum_buffer",)
        self.state = {name: torch.zeros_like(values) for name in self.names}
        self.steps = 0

    @property
    def _adam(self) -> bool:
        return self.recipe.optimizer == "adamw"

    @torch.no_grad()
    def step(self, gradient: Tensor, rates: Sequence[float]) -> None:
        """One step of every row. gradient: (trials, numbers); rates: one for each row."""
        values = self.stack.values
        if self.recipe.clip_norm is not None:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient = gradient * (self.recipe.clip_norm / (norm + _CLIP_EPSILON)).clamp(max=1.0)
        lr = send(torch.tensor(rates, dtype=values.dtype), values.device)[:, None] * self._times
        self.steps += 1
        if not self._adam:
            gradient = gradient + self._decay * self._decayed * values
            buffer = self.state["momentum_buffer"]
            values.sub_(lr * buffer.mul_(self.recipe.momentum).add_(gradient))
            return
        first, second = self.recipe.betas
        mean, square = self.state["exp_avg"], self.state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        # As few passes over all rows as there are: for classifiers they are most of a step.
        spread = square.sqrt().div_((1 - second**self.steps) ** 0.5).add_(_EPSILON)
        values.addcmul_(values, lr * self._decay * self._decayed, value=-1)
        values.sub_(mean.div(spread).mul_(lr / (1 - first**self.steps)))

    def keep(self, which: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._decay, self._times = self._decay[list(which)], self._times[list(which)]
        self.state = {name: state[list(which)] for name, state in self.state.items()}

    def alone(self, row: int, recipe: Recipe) -> torch.optim.Optimizer:
        """torch's own optimizer of the model, in the state of one row."""
        made = build_optimizer(self.stack.model, recipe, self.head)
        if self.steps == 0:
            return made
        parts = {name: self.stack.parts(state[row]) for name, state in self.state.items()}
        for name, parameter in trainable(self.stack.model).items():
            made.state[parameter] = {key: part[name] for key, part in parts.items()}
            if self._adam:
                made.state[parameter]["step"] = torch.tensor(float(self.steps))
        return made

    def take(self, row: int, optimizer: torch.optim.Optimizer, steps: int) -> None:
        """The reverse of `alone`: the state of torch's optimizer, after `steps`, into one row."""
        states = [optimizer.state[p] for p in trainable(self.stack.model).values()]
        for name in self.names:
            if states[0].get(name) is not None:  # SGD without momentum keeps none
                self.state[name][row] = flatten_all([state[name] for state in states])
        self.steps = steps


def common(recipe: Recipe) -> Recipe:
    """The recipe without what trials of one stack may differ in: equal for those that stack.

    Raises InputError, saying why, for a recipe that no stack trains.
    """
    for field_, why in (
        ("ema", "the average of the weights is one model's"),
        ("drop_path", "it draws random numbers inside the model"),
    ):
        if getattr(recipe, field_) > 0:
            raise InputError(f"recipe: {field_}={getattr(recipe, field_)} cannot be stacked: {why}")
    if recipe.optimizer not in ("adamw", "sgd"):  # those of RowOptimizer
        raise InputError(f"recipe: optimizer={recipe.optimizer!r} cannot be stacked")
    if recipe.imbalance != NO_REMEDY:
        raise InputError(f"recipe: imbalance={recipe.imbalance!r} cannot be stacked")
    if recipe.precision != "fp32":
        raise InputError(f"recipe: precision={recipe.precision!r} cannot be stacked; fp32 can")
    for name in ("compile", "channels_last", "recompute", "cuda_graphs"):
        if getattr(recipe, name):
            raise InputError(f"recipe: {name}=True cannot be stacked; train its trials one by one")
    return replace(recipe, lr=1.0, warmup_lr=0.0, min_lr=0.0, weight_decay=0.0)


def flatten_all(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers of the tensors, one tensor behind the other."""
    return torch.cat([tensor.flatten() for tensor in tensors])
