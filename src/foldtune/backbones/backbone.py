"""A backbone as the rest of the house sees it, and its loading by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.tuningfile import hash_tensors
from foldtune.errors import unknown


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
        noise = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
        return noise.to(p.device, p.dtype)

    def identity(self) -> dict[str, Any]:
        """What a tuning or a row keeps: name, source, weights, transform, hash of the values.

        Call it on the plain model: the hash covers every stored tensor.
        """
        return {
            "name": self.name,
            "source": self.source,
            "weights": self.weights,
            "transform": asdict(self.transform),
            "hash": hash_tensors(self.model.state_dict()),
        }


def known_by_name(weights: str) -> bool:
    """Whether a backbone's name alone leads to the values that `weights` tells of."""
    return weights == "hub" or weights.startswith(("embedded ", "package ", "random, seed "))


def load_backbone(
    name: str = "micro",
    *,
    weights: str | Path | None = None,
    pretrained: bool = True,
    size: int | None = None,
    seed: int = 0,
) -> Backbone:
    """The backbone called `name`: "micro", which is in the package; "lite0", "lite1", "lite2", with
    ImageNet weights that the extra `imagenet` installs; any timm classifier; a transformers image
    classifier ("hf:NAME" or "hf:FOLDER"); or the visual tower of an open_clip model
    ("open_clip:MODEL/TAG"; without tag from random weights or a file).

    weights: a file (.safetensors, .npz, .pth) read without executing pickles, in the place of the
    published ones. pretrained=False: random weights drawn from `seed`. size: input side in pixels,
    for models that take another than their own.

    Raises InputError for an unknown name (nearest first), weights that do not fit, a hub that
    cannot be reached, or a library that is not installed.
    """
    from foldtune.backbones import hf_models, lite, micro, open_clip_models, timm_models

    for source in (hf_models, open_clip_models):
        if name.startswith(source.PREFIX):
            return source.load(name, weights, pretrained, size, seed)
    if name == micro.NAME:
        return micro.load(weights, pretrained, size, seed)
    if name in lite.NAMES:
        return lite.load(name, weights, pretrained, size, seed)
    if timm_models.is_known(name):
        return timm_models.load(name, weights, pretrained, size, seed)
    raise unknown("model", name, [micro.NAME, *lite.NAMES, *timm_models.names()])
