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

from foldtune.backbones.backbone import Backbone, Transform
from foldtune.backbones.weights import label, load_into, read_state, through_hub
from foldtune.errors import InputError
from foldtune.torchvision_ops import declare_missing_operators

PREFIX = "hf:"


def load(
    name: str, weights: str | Path | None, pretrained: bool, size: int | None, seed: int
) -> Backbone:
    """Build `name` and fill it as `load_backbone` says; a checkpoint without classifier gets one.

    Raises InputError where transformers is not installed, for a name or folder that holds no image
    classifier, for images wanted otherwise than normalised RGB, and for a size it cannot take.
    """
    library = _import_transformers()
    place = name.removeprefix(PREFIX)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model, source = _built(library, place, weights, pretrained, size, seed)
            processor = library.AutoImageProcessor.from_pretrained(place)
        except InputError:
            raise
        except (
            Exception
        ) as error:  # the hub's client raises many kinds, none of which the user made
            raise InputError(
                f"cannot load {name} ({_first_line(error)}); it must name, on the hub or as a "
                "folder, an image classifier's config.json, preprocessor_config.json and weights"
            ) from error
    transform = _transform(name, processor, size)
    backbone = Backbone(name, "transformers", model.eval(), transform, source)
    if size is not None:
        _try(backbone)
    return backbone


def _built(
    library: ModuleType,
    place: str,
    weights: str | Path | None,
    pretrained: bool,
    size: int | None,
    seed: int,
) -> tuple[nn.Module, str]:
    classifier = library.AutoModelForImageClassification
    if weights is None and pretrained:
        return through_hub(PREFIX + place, lambda: classifier.from_pretrained(place)), "hub"
    config = library.AutoConfig.from_pretrained(place)
    if size is not None and hasattr(config, "image_size"):
        config.image_size = size
    if weights is None:
        return classifier.from_config(config), f"random, seed {seed}"
    return _from_file(classifier, config, weights), label(weights)


def _from_file(classifier: Any, config: Any, weights: str | Path) -> nn.Module:
    state = read_state(weights)
    if "classifier.weight" in state:
        # The file's classifier decides the number of classes.
        config.num_labels = state["classifier.weight"].shape[0]
    model = classifier.from_config(config)
    if set(state) == set(model.state_dict()):
        load_into(model, state, weights)
        return model
    # Published checkpoints have the names of older versions, which transformers (5) translates.
    model, report = type(model).from_pretrained(
        None, config=config, state_dict=state, output_loading_info=True
    )
    wrong = [f"{k} ({kind})" for kind, keys in report.items() for k in sorted(map(str, keys))]
    if wrong:
        raise InputError(
            f"{weights} does not fit {type(model).__name__}; the first difference is {wrong[0]}"
        )
    return model


def _transform(name: str, processor: Any, size: int | None) -> Transform:
    def told(key: str) -> Any:
        return getattr(processor, key, None)

    scaled = told("do_rescale") is not False and not told("rescale_offset")
    if not scaled or not math.isclose(told("rescale_factor") or 1 / 255, 1 / 255, rel_tol=1e-3):
        raise InputError(f"{name} wants pixels on another scale than 0 to 1, which foldtune gives")
    if told("do_flip_channel_order"):
        raise InputError(f"{name} wants channels as BGR; foldtune gives RGB")
    resized, cropped = dict(told("size") or {}), dict(told("crop_size") or {})
    wanted = cropped if told("do_center_crop") and cropped else resized
    sides = {wanted.get(k) for k in ("height", "width", "shortest_edge")} - {None}
    if size is None and len(sides) != 1:
        raise InputError(f"{name} says no square size of its images ({wanted}); give --size")
    normalised = told("do_normalize") is not False

    def triple(key: str, usual: float) -> tuple[float, float, float]:
        red, green, blue = (normalised and told(key)) or (usual,) * 3
        return float(red), float(green), float(blue)

    side = size or int(next(iter(sides)) or 0)
    crop = bool(told("do_center_crop")) or "shortest_edge" in resized
    return Transform(
        side,
        triple("image_mean", 0.0),
        triple("image_std", 1.0),
        _interpolation(told("resample")),
        "crop" if crop else "squash",
    )


def _interpolation(resample: Any) -> str:
    """The name of Pillow's number."""
    from PIL.Image import Resampling

    name = Resampling(int(resample)).name.lower() if resample is not None else "bicubic"
    return name if name in ("bicubic", "bilinear") else "bicubic"


def _try(backbone: Backbone) -> None:
    try:
        with torch.no_grad():
            backbone.model(backbone.example(1))
    except (ValueError, RuntimeError) as error:
        side = backbone.transform.size
        raise InputError(
            f"{backbone.name} does not take images of {side} pixels ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


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
