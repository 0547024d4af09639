"""Whatever holds a tuned model, opened to be used: a tuning, an exported folder, a merged file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from foldtune import gate
from foldtune.backbones import Backbone, load_backbone
from foldtune.backbones.tuning import images_of, refuse_hub
from foldtune.backbones.weights import as_a_file_says
from foldtune.core.tuningfile import TuningFile
from foldtune.errors import InputError
from foldtune.tunings.export.about import is_exported, read_about
from foldtune.tunings.export.hosts import CONFIG, LIVE, TRANSFORMERS, WEIGHTS
from foldtune.tunings.mergedfile import read_merged
from foldtune.tunings.tuning import Modelled, open_tuning

_NAME = gate.text(1000)
_BUILD = gate.fields({"architecture": _NAME}, {"model_args": gate.mapping_of(gate.anything, 256)})
_USUAL = 1024  # an argument up to here makes no model that is too large
_SPARE = 1.5  # times the tensors of the file that a model may have: buffers are not all stored


@dataclass(frozen=True)
class Plain:
    """A model whose tuning is folded in."""

    model: nn.Module


def usable(
    path: Path, weights: Path | None = None, allowed: Callable[[str], bool] = refuse_hub
) -> tuple[Modelled, Backbone, dict[str, Any]]:
    """The tuned model, its backbone (of a folded one itself), and the header of the tuning.

    path: a tuning, the folder of a run, a folder that `export` wrote, or a file that `merge` did.
    weights, allowed: see `open_tuning`. Raises InputError for anything else, and for what is not as
    it was written.
    """
    if path.is_dir() and is_exported(path):
        about = read_about(path)
        if about["kind"] != LIVE:
            return _of_folder(path, about, allowed)
    elif path.is_file() and (told := read_merged(path)) is not None:
        return _of_file(path, told, allowed)
    return open_tuning(path, weights, allowed)


def temperature_of(path: Path) -> float | None:
    """What confidences are calibrated with, as the folder tells it."""
    told = read_about(path).get("temperature") if is_exported(path) else None
    return None if told is None else float(told)


def _of_folder(
    path: Path, about: Mapping[str, Any], allowed: Callable[[str], bool]
) -> tuple[Plain, Backbone, dict[str, Any]]:
    if about["kind"] == TRANSFORMERS:
        name = f"hf:{path}"
    else:
        name = f"local-dir:{path}"
        _refuse_larger_than_its_file(path)
    found = as_a_file_says(name, lambda: load_backbone(name), allowed)
    header = {**TuningFile(path).header, "classes": about["classes"]}
    if about.get("task"):  # of numbers: in the labels' unit, where the tuning has its own
        header["task"] = about["task"]
    return Plain(found.model), found, header


def _of_file(
    path: Path, told: Mapping[str, Any], allowed: Callable[[str], bool]
) -> tuple[Plain, Backbone, dict[str, Any]]:
    images = images_of(dict(told))
    found = as_a_file_says(
        told["name"], lambda: load_backbone(told["name"], weights=path, **images), allowed
    )
    header = {"classes": told["classes"], "num_classes": len(told["classes"])}
    return Plain(found.model), found, header | {n: told[n] for n in ("data", "task") if told.get(n)}


def _refuse_larger_than_its_file(folder: Path) -> None:
    """A stranger's config.json may ask for any model; it gets one of the size of its weights."""
    import timm
    import torch

    told = gate.check_value(gate.parse_file(folder / CONFIG), _BUILD, folder / CONFIG)
    if not timm.is_model(told["architecture"]):  # hf-hub:... would be asked for
        raise InputError(f"{folder / CONFIG} names no model of timm")
    with safe_open(folder / WEIGHTS, "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    stored = sum(math.prod(shape) for shape in shapes)
    largest = max(_USUAL, *(side for shape in shapes for side in shape), 0)
    for name, value in told.get("model_args", {}).items():
        if isinstance(value, int) and value > largest:
            raise InputError(
                f"{folder / CONFIG} says {name} {value:,}, and none of its weights is of that "
                "size; it is damaged"
            )
    try:
        with torch.device("meta"):
            plan = timm.create_model(
                told["architecture"], num_classes=0, **told.get("model_args", {})
            )
    except Exception as error:  # whatever a builder raises at arguments of a stranger's
        raise InputError(f"{folder / CONFIG} names no model that timm builds ({error})") from error
    wanted = sum(p.numel() for p in plan.parameters())
    if wanted > _SPARE * stored:
        raise InputError(
            f"{folder / CONFIG} asks for a model of {wanted:,} numbers, and its weights hold "
            f"{stored:,}; it is damaged"
        )
