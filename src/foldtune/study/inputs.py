"""What callers may give for data and backbone, brought to one form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from foldtune.backbones import Backbone, load_backbone
from foldtune.backbones.backbone import as_size, size_text
from foldtune.core.container import CONTAINER
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.options.groups import DataOptions, ModelOptions
from foldtune.options.taken import non_defaults
from foldtune.tasks.parsing import parse_task
from foldtune.tunings.reading import read_images

Data = str | Path | ImageData
Model = str | Backbone
_AS_LOADED, _AS_READ = ModelOptions(), DataOptions()


def silent(_line: str) -> None:
    """Nobody listens."""


def as_backbone(model: Model, asked: ModelOptions = _AS_LOADED) -> Backbone:
    """A backbone by name, or a copy of one: the caller's stays plain, for the next verb.

    Raises InputError for one that carries an attachment, and for options of loading beside one that
    is loaded.
    """
    if not isinstance(model, Backbone):
        return load_backbone(
            model, weights=asked.weights, pretrained=asked.pretrained, size=asked.size,
            channels=asked.channels,
        )  # fmt: skip
    if late := non_defaults(asked):
        raise InputError(
            f"the backbone {model.name} is loaded already; give {', '.join(late)} to "
            "load_backbone(...)"
        )
    if any(CONTAINER in m._modules for m in model.model.modules()):
        raise InputError(
            f"the backbone {model.name} carries an attachment; detach() or merge() it, or load the "
            "backbone again"
        )
    return replace(model, model=copy.deepcopy(model.model))


def as_data(
    data: Data,
    backbone: Backbone,
    seed: int = 0,
    asked: DataOptions = _AS_READ,
    say: Callable[[str], None] = silent,
) -> ImageData:
    """Images at the backbone's size, decoded or from the cache.

    say: is told what is left out or looks wrong. Raises InputError where given data has another
    size than the backbone takes, where it has no training images, and for options of reading beside
    images that were read.
    """
    transform = backbone.transform
    if not isinstance(data, ImageData):
        data = read_images(str(data), backbone, asked, seed, say)
    else:
        task = asked.task
        if task is not None and type(parse_task(task)) is not type(data.task):
            raise InputError(
                f"{data.name} was loaded as {data.task!r}; load_data(..., task={task!r})"
            )
        drawn = seed if asked.split_seed is None else asked.split_seed
        if late := non_defaults(asked).keys() - {"shots", "split_seed", "task"}:
            raise InputError(
                f"{data.name} is read already; give {', '.join(sorted(late))} to load_data(...)"
            )
        if asked.shots is not None:
            data = data.few_shot(asked.shots, drawn)
    if not len(data.splits["train"]):
        raise InputError(
            f"{data.name} has a test split alone, so nothing can be tuned on it; judge a tuning "
            "on it with foldtune eval"
        )
    lost = data.facts.get("shared_with_train", {}).get("test", 0)
    if lost and lost == len(data.splits["test"]):
        raise InputError(
            f"every one of the {lost} test images of {data.name} is, to the pixel, in train, so "
            "nothing would judge; give other test images, or leave the splits to be drawn"
        )
    size = as_size(data.pixels.shape[1:3])
    if size != transform.size:
        raise InputError(
            f"{data.name} is decoded at {size_text(size or 0)} pixels and {backbone.name} takes "
            f"{size_text(transform.size)}; load_data(..., size={transform.size})"
        )
    channels = data.pixels.shape[3]
    if channels != len(transform.mean):
        raise InputError(
            f"{data.name} is decoded to {channels} channels and {backbone.name} takes "
            f"{len(transform.mean)}; load_data(..., channels={len(transform.mean)}), or "
            f"load_backbone(..., channels={channels})"
        )
    return data
