"""Any transformers image classifier: `hf:google/vit-base-patch16-224`, or `hf:FOLDER` offline.

The host stays transformers' own: it takes the images as its first argument, `pixel_values`, and
answers with a ModelOutput, out of which `host_logits` takes the logits.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from foldtune.backbones.backbone import Asked, Backbone, Transform, first_line
from foldtune.backbones.fitting import adapt_channels, spread
from foldtune.backbones.weights import label, load_into, read_state, through_hub
from foldtune.errors import InputError
from foldtune.torchvision_ops import declare_missing_operators

PREFIX = "hf:"


def load(name: str, asked: Asked) -> Backbone:
    """Build `name` and fill it as `load_backbone` says; a checkpoint without classifier gets one.

    Raises InputError where transformers is not installed, for a name or folder that holds no image
    classifier, for images wanted otherwise than normalised RGB, and for a size it cannot take.
    """
    library = _import_transformers()
    place = name.removeprefix(PREFIX)
    with torch.random.fork_rng():
        torch.manual_seed(asked.seed)
        try:
            model, source = _build(library, place, asked)
            processor = library.AutoImageProcessor.from_pretrained(place)
        except InputError:
            raise
        except (
            Exception
        ) as error:  # the hub's client raises many kinds, none of which the user made
            raise InputError(
                f"cannot load {name} ({first_line(error)}); it must name, on the hub or as a "
                "folder, an image classifier's config.json, preprocessor_config.json and weights"
            ) from error
    transform = _transform(name, processor, asked)
    backbone = Backbone(name, "transformers", model.eval(), transform, source)
    plain = asked.size is None and asked.channels is None
    return backbone if plain else backbone.try_one_image()


def _build(library: ModuleType, place: str, asked: Asked) -> tuple[nn.Module, str]:
    classifier = library.AutoModelForImageClassification
    if asked.weights is None and asked.pretrained:
        model = through_hub(PREFIX + place, lambda: classifier.from_pretrained(place))
        return _widen(classifier, model, asked.channels), "hub"
    config = library.AutoConfig.from_pretrained(place)
    if asked.size is not None and hasattr(config, "image_size"):
        config.image_size = asked.size
    if asked.weights is None:
        model = classifier.from_config(config)
        return _widen(classifier, model, asked.channels), f"random, seed {asked.seed}"
    return _from_file(classifier, config, asked.weights, asked.channels), label(asked.weights)


def _widen(classifier: Any, model: Any, channels: int | None) -> nn.Module:
    """The model for images of `channels`, its first layer spread over them."""
    if channels is None or channels == model.config.num_channels:
        return model
    state = model.state_dict()
    model.config.num_channels = channels
    wide: nn.Module = classifier.from_config(model.config)
    wide.load_state_dict(adapt_channels(state, wide.state_dict()))
    return wide


def _from_file(
    classifier: Any, config: Any, weights: str | Path, channels: int | None
) -> nn.Module:
    state = read_state(weights)
    if channels is not None and not any(t.ndim == 4 and t.shape[1] == 3 for t in state.values()):
        config.num_channels = channels  # a merged model, of these channels already
    if "classifier.weight" in state:
        # The file's classifier decides the number of classes.
        config.num_labels = state["classifier.weight"].shape[0]
    model = classifier.from_config(config)
    if set(state) == set(model.state_dict()):
        load_into(model, state, weights)
        return _widen(classifier, model, channels)
    # Published checkpoints have the names of older versions, which transformers (5) translates.
    model, report = type(model).from_pretrained(
        None, config=config, state_dict=state, output_loading_info=True
    )
    wrong = [f"{k} ({kind})" for kind, keys in report.items() for k in sorted(map(str, keys))]
    if wrong:
        raise InputError(
            f"{weights} does not fit {type(model).__name__}; the first difference is {wrong[0]}"
        )
    return _widen(classifier, model, channels)


def _transform(name: str, processor: Any, asked: Asked) -> Transform:
    def value_of(key: str) -> Any:
        return getattr(processor, key, None)

    if type(processor).__name__ == "TimmWrapperImageProcessor":
        where = name.removeprefix(PREFIX)
        scheme = "local-dir" if Path(where).is_dir() else "hf-hub"
        raise InputError(f"{name} is a model of timm; name it {scheme}:{where}")
    scaled = value_of("do_rescale") is not False and not value_of("rescale_offset")
    if not scaled or not math.isclose(value_of("rescale_factor") or 1 / 255, 1 / 255, rel_tol=1e-3):
        raise InputError(f"{name} wants pixels on another scale than 0 to 1, which foldtune gives")
    if value_of("do_flip_channel_order"):
        raise InputError(f"{name} wants channels as BGR; foldtune gives RGB")
    resized, cropped = dict(value_of("size") or {}), dict(value_of("crop_size") or {})
    wanted = cropped if value_of("do_center_crop") and cropped else resized
    named = {wanted.get(k) for k in ("height", "width", "shortest_edge")} - {None}
    if asked.size is None and len(named) != 1:
        raise InputError(f"{name} says no square size of its images ({wanted}); give --size")
    normalised = value_of("do_normalize") is not False

    def each(key: str, usual: float) -> tuple[float, ...]:
        rgb = (normalised and value_of(key)) or (usual,) * 3
        return spread(tuple(map(float, rgb)), asked.channels)

    size = asked.size or int(next(iter(named)) or 0)
    crop = bool(value_of("do_center_crop")) or "shortest_edge" in resized
    return Transform(
        size,
        each("image_mean", 0.0),
        each("image_std", 1.0),
        _interpolation(value_of("resample")),
        "crop" if crop else "squash",
    )


def _interpolation(resample: Any) -> str:
    """The name of Pillow's number."""
    from PIL.Image import Resampling

    name = Resampling(int(resample)).name.lower() if resample is not None else "bicubic"
    return name if name in ("bicubic", "bilinear") else "bicubic"


def _import_transformers() -> ModuleType:
    declare_missing_operators()
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"{PREFIX}... needs the library transformers ({error}); pip install "
            "foldtune[transformers]"
        ) from error
    return transformers
