"""The exponential moving average of the weights, which is judged and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from foldtune.training.optim.optimizer import trainable


def live_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What training may change in the model: trainable parameters and persistent buffers."""
    persistent = model.state_dict().keys()
    found: dict[str, Tensor] = {f"parameter/{n}": p for n, p in trainable(model).items()}
    found |= {f"buffer/{n}": b for n, b in model.named_buffers() if n in persistent}
    return found


class Average:
    """The average a <- decay a + (1 - decay) w of what trains, from the starting weights on.

    Polyak and Juditsky, SIAM J. Control Optim. 1992, with exponential weights, as in Tarvainen and
    Valpola, NeurIPS 2017, and in timm. Running statistics are averaged likewise; counters are not.
    No correction for the start: with 1 / (1 - decay) steps it still holds a third of the start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = {
            name: tensor for name, tensor in live_tensors(model).items()
            if tensor.is_floating_point()
        }  # fmt: skip
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the live weights in, after a step of the optimizer."""
        torch._foreach_lerp_(
            list(self.tensors.values()),
            [t.detach() for t in self._live.values()],
            1 - self.decay,
        )

    @contextmanager
    def on_model(self) -> Iterator[None]:
        """The averaged weights in the model inside; the live ones, bit for bit, after."""
        own = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        self.keep()
        try:
            yield
        finally:
            _copy(own, self._live)

    def keep(self) -> None:
        """Leave the averaged weights in the model."""
        _copy(self.tensors, self._live)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
