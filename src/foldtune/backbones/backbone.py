"""A backbone as the rest of the house sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.header import SIDE
from foldtune.core.tensorfile import hash_tensors
from foldtune.errors import InputError

Size = int | tuple[int, int]  # a side in pixels, or height and width


def sides(size: Size) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def size_text(size: Size) -> str:
    """For people: "64", or "64 x 128"."""
    return str(size) if isinstance(size, int) else " x ".join(map(str, size))


def as_size(size: int | Sequence[int] | None) -> Size | None:
    """A side where both are equal, else height and width; None as it is.

    Raises InputError for what is neither, and for sides that no image has.
    """
    if size is None:
        return None
    given = (size, size) if isinstance(size, int) else tuple(size)
    if len(given) != 2 or not all(isinstance(s, int) for s in given):
        raise InputError(f"size is {size}; give a side in pixels, or height and width")
    if not all(1 <= s <= SIDE for s in given):
        raise InputError(f"images of {size} pixels a side are none; from 1 to {SIDE}")
    return given[0] if given[0] == given[1] else (given[0], given[1])


@dataclass(frozen=True)
class Asked:
    """What a caller asks of a backbone beside its name, see `load_backbone`; None: its own."""

    weights: str | Path | None = None
    pretrained: bool = True
    size: Size | None = None
    seed: int = 0
    channels: int | None = None


@dataclass(frozen=True)
class Transform:
    """How images must be brought in: size, normalisation, resizing.

    size: side in pixels, or height and width. mean, std: of each channel, red, green and blue
    unless it was loaded for others, of values in [0, 1]. resize: "squash" to the size whatever the
    aspect, or "crop" the centre.
    """

    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize: str = "squash"

    @property
    def channels(self) -> int:
        return len(self.mean)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height and width."""
        return self.channels, *sides(self.size)


@dataclass(frozen=True)
class Backbone:
    """A model with its transform and the facts that identify it.

    source: "timm", "transformers", "open_clip", "package" or "embedded". weights: where the values
    come from, e.g. "hub", "embedded", "package P 0.1.0", "random, seed 0" or a file's name.
    """

    name: str
    source: str
    model: nn.Module = field(repr=False)
    transform: Transform = field(repr=False)
    weights: str
    # Builds the two-tower model that the visual tower is half of, where there is one.
    both_towers: Callable[[], nn.Module] | None = field(default=None, repr=False)

    def _repr_html_(self) -> str:
        count = sum(p.numel() for p in self.model.parameters())
        told = (
            f"{self.name} ({self.source}, weights: {self.weights}), {count:,} parameters, images "
            f"of {size_text(self.transform.size)} pixels in {self.transform.channels} channels"
        )
        return f"<p>{escape(told)}</p>"

    @property
    def pretrained(self) -> bool:
        return not self.weights.startswith("random")

    def example(self, batch: int = 2) -> Tensor:
        """Noise images (batch, channels, height, width) on the model's device, in its dtype."""
        p = next(self.model.parameters())
        draw = torch.Generator().manual_seed(0)
        return torch.rand(batch, *self.transform.shape, generator=draw).to(p.device, p.dtype)

    def try_one_image(self) -> Backbone:
        """Itself, after one image went through. Raises InputError where the host takes no such."""
        try:
            with torch.no_grad():
                self.model(self.example(1))
        except (ValueError, RuntimeError, AssertionError, IndexError) as error:
            size, channels = self.transform.size, self.transform.channels
            bands = "" if channels == 3 else f" in {channels} channels"
            raise InputError(
                f"{self.name} does not take images of {size_text(size)} pixels{bands} "
                f"({first_line(error)})"
            ) from error
        return self

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


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
