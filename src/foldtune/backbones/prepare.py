"""From pixels as they are stored to what a backbone takes."""

from __future__ import annotations

import torch
from torch import Tensor

from foldtune.augment.batch import Normalise, augment, parse_kind, refuse_colours, to_float
from foldtune.backbones.backbone import Backbone
from foldtune.training.batches import Prepare


def prepare_for(backbone: Backbone, kinds: tuple[str, ...] = ()) -> Prepare:
    """From a uint8 batch to what the backbone takes; augmented where a generator is given."""
    mean, std = backbone.transform.mean, backbone.transform.std
    dtype = next(backbone.model.parameters()).dtype
    for kind in kinds:  # so that a slip of the pen is told before the first step
        refuse_colours(parse_kind(kind)[0], len(mean))

    def prepare(batch: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None or not kinds:
            return to_float(batch, mean, std).to(dtype)
        images = augment(to_float(batch, (0.0,) * len(mean), (1.0,) * len(mean)), kinds, generator)
        return Normalise(mean, std)(images).to(dtype)

    return prepare
