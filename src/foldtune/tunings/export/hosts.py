"""A merged model as a folder that its own library loads: timm (`local-dir:`, `hf-hub:`) or
transformers (`from_pretrained`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.backbones import Backbone
from foldtune.backbones.backbone import Transform, sides
from foldtune.backbones.micro import NAME as MICRO
from foldtune.core.tensorfile import write_tensors
from foldtune.errors import InputError
from foldtune.tasks.kinds import USUAL, MultiLabel, Regression, SingleLabel
from foldtune.tasks.task import Task

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TIMM, TRANSFORMERS, LIVE = "timm", "transformers", "live"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

# What timm is told of weights that stays true of tuned ones.
_KEPT = ("first_conv", "classifier", "pool_size", "fixed_input_size", "license", "origin_url")
# micro is timm's own class in a size of its own: one of timm's names with other arguments.
_MICRO = {
    "img_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 8, "num_heads": 4,
    "dynamic_img_size": True,
}  # fmt: skip
_AS_MICRO = "vit_tiny_patch16_224"
# What transformers calls them, where it has a word.
_PROBLEMS: Mapping[type, str] = {
    SingleLabel: "single_label_classification", MultiLabel: "multi_label_classification",
    Regression: "regression",
}  # fmt: skip
_NOT_OF_THE_MODEL = ("drop_path_rate", "num_classes")


def kind_of(backbone: Backbone) -> str:
    """Which library loads what becomes of the backbone: "timm", "transformers", or "live", none
    but foldtune."""
    kinds = {"transformers": TRANSFORMERS, "open_clip": LIVE}
    return kinds.get(backbone.source, TIMM)


def licence_of(model: nn.Module) -> str | None:
    """The licence of the weights, where the host tells it."""
    told: Any = getattr(model, "pretrained_cfg", None) or {}
    licence = told.get("license")
    return None if licence is None else str(licence)


def inexpressible(transform: Transform) -> tuple[str, ...]:
    """What of the way images are brought in the host's library has no word for, or does otherwise
    by a rounding."""
    told = []
    if transform.interpolation == "bilinear-plain":
        told.append("bilinear-plain, the four nearest pixels alone, is written as bilinear")
    if transform.resize == "crop":
        told.append("the longer side of a picture may be resized to one pixel more or less")
    return tuple(told)


def write_timm(model: nn.Module, backbone: Backbone, classes: Sequence[str], folder: Path) -> None:
    """config.json, as timm's own `push_to_hf_hub` writes it."""
    transform = backbone.transform
    told: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    micro = backbone.name == MICRO
    kept = {k: told[k] for k in _KEPT if told.get(k) is not None}
    crop = {"crop_mode": "squash", "crop_pct": 1.0}
    if transform.resize == "crop":
        crop = {"crop_mode": "center", "crop_pct": 224 / 256}
    config = {
        "architecture": _AS_MICRO if micro else told.get("architecture"),
        "num_classes": len(classes),
        "num_features": model.num_features,
        "label_names": list(classes),
        "model_args": _arguments(model, backbone),
        "pretrained_cfg": {
            **kept, "input_size": list(transform.shape), "mean": list(transform.mean),
            "std": list(transform.std), "interpolation": _interpolation(transform), **crop,
            "num_classes": len(classes),
            **({"first_conv": "patch_embed.proj", "classifier": "head"} if micro else {}),
        },
    }  # fmt: skip
    _write(folder / CONFIG, config)


def write_transformers(
    model: Any, backbone: Backbone, classes: Sequence[str], folder: Path, task: Task = USUAL
) -> None:
    """config.json with the names of the outputs, and preprocessor_config.json."""
    model.config.problem_type = _PROBLEMS.get(type(task))
    model.config.id2label = dict(enumerate(classes))
    model.config.label2id = {name: number for number, name in enumerate(classes)}
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    transform = backbone.transform
    height, width = sides(transform.size)
    crop = transform.resize == "crop"
    if crop and height != width:
        raise InputError(
            "transformers crops the centre of squares alone; tune with --resize squash, or at a "
            "square size"
        )
    size = {"shortest_edge": round(height * 256 / 224)} if crop else _box(height, width)
    told = {
        "image_processor_type": "CLIPImageProcessor" if crop else "ViTImageProcessor",
        "do_resize": True, "size": size, "resample": _PILLOW[_interpolation(transform)],
        "do_center_crop": crop, "crop_size": _box(height, width),
        "do_convert_rgb": transform.channels == 3 or None,
        "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": list(transform.mean), "image_std": list(transform.std),
    }  # fmt: skip
    _write(folder / "preprocessor_config.json", told)


def write_weights(state: Mapping[str, Tensor], folder: Path, metadata: Mapping[str, str]) -> None:
    """model.safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    write_tensors(tensors, folder / WEIGHTS, {"format": "pt", **metadata})


def reload(kind: str, folder: Path) -> nn.Module:
    """The model that the host's library, and nothing of foldtune, makes of the folder."""
    if kind == TRANSFORMERS:
        from transformers import AutoModelForImageClassification

        found: nn.Module = AutoModelForImageClassification.from_pretrained(folder)
        return found.float().eval()
    import timm

    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def cast_state(model: nn.Module, dtype: str) -> dict[str, Tensor]:
    """The model's state with floating numbers in `dtype`; counters and indices as they are."""
    into = DTYPES[dtype]
    return {
        name: tensor.to(into) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }


_PILLOW = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def _arguments(model: nn.Module, backbone: Backbone) -> dict[str, Any]:
    """What timm's builder must be told beside the name."""
    channels = backbone.transform.channels
    bands = {} if channels == 3 else {"in_chans": channels}
    if backbone.name == MICRO:
        return _MICRO | bands
    given: Any = getattr(model, "_model_args", None)
    told: Any = getattr(model, "pretrained_cfg", None) or {}
    if given is None:  # timm before it kept them
        fixed = told.get("fixed_input_size")
        given = {"img_size": list(sides(backbone.transform.size))} if fixed else {}
    return {k: v for k, v in given.items() if k not in _NOT_OF_THE_MODEL} | bands


def _interpolation(transform: Transform) -> str:
    return transform.interpolation.removesuffix("-plain")


def _box(height: int, width: int) -> dict[str, int]:
    return {"height": height, "width": width}


def _write(path: Path, told: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(told, indent=2) + "\n")
