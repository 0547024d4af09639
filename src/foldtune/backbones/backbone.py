"""A backbone as the rest of the house sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.tuningfile import hash_tensors


@dataclass(frozen=True)
class Transform:
    """How images must be brought in: size, normalisation, resizing.

    size: side in pixels. mean, std: per RGB channel, of values in [0, 1]. resize: "squash" to the
    square whatever the aspect, or "crop" the centre.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize: str = "squash"


@dataclass(frozen=True)
class Backbone:
    """A model with its transform and the facts that identify it.

    source: "timm", "transformers", "open_clip", "package" or "embedded". weights: where the values
    come from, e.g. "hub", "embedded", "package P 0.1.0", "random, seed 0" or a file's name.
    """

    name: str
    source: str
    model: nn.Module
    transform: Transform
    weights: str
    # Builds the two-tower model that the visual tower is half of, where there is one.
    both_towers: Callable[[], nn.Module] | None = field(default=None, repr=False)

    @property
    def pretrained(self) -> bool:
        return not self.weights.startswith("random")

    def example(self, batch: int = 2) -> Tensor:
        """Noise images (batch, 3, size, size) on the model's device, in its dtype."""
        p = next(self.model.parameters())
        side = self.transform.size
        noise = torch.rand(
            batch, len(self.transform.mean), side, side, generator=torch.Generator().manual_seed(0)
        )
        return noise.to(p.device, p.dtype)

    def identity(self, state: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """What a tuning or a row keeps: name, source, weights, transform, hash of the values.

        The hash covers every stored tensor of the plain model: call it on that, or give its state.
        """
        return {
            "name": self.name,
            "source": self.source,
            "weights": self.weights,
            "transform": asdict(self.transform),
            "hash": hash_tensors(self.model.state_dict() if state is None else state),
        }
