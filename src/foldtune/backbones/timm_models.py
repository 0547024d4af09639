"""Any timm classifier, by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from foldtune.backbones.backbone import Asked, Backbone, Transform, first_line
from foldtune.backbones.fitting import spread
from foldtune.backbones.weights import (
    fit_from_file,
    is_npz,
    label,
    load_npz,
    npz_classes,
    through_hub,
)
from foldtune.core.structure.head import find_head
from foldtune.errors import InputError, unknown_name
from foldtune.torchvision_ops import declare_missing_operators

declare_missing_operators()

import timm  # noqa: E402  (after the operators)

# Built in so that a recipe may set drop path later; the training loop sets it to its own value,
# 0 included, and evaluation never uses it.
_DROP_PATH = 0.1
_ASKED = ("img_size", "in_chans")  # options that a caller asked for


def is_known(name: str) -> bool:
    """Whether timm can build `name`: a model, model.tag, hf-hub: or local-dir: name."""
    return name.startswith(("hf-hub:", "hf_hub:", "local-dir:")) or timm.is_model(name)


def names() -> list[str]:
    """All model names, without tags."""
    return timm.list_models()


def load(name: str, asked: Asked) -> Backbone:
    """Build `name` and fill it as `load_backbone` says."""
    _check_tag(name)
    given = {"img_size": asked.size, "in_chans": asked.channels}
    options = {name: value for name, value in given.items() if value is not None}
    if asked.weights is not None:
        model, source = _from_file(name, asked.weights, options), label(asked.weights)
    elif asked.pretrained:
        model, source = _from_hub(name, options), "hub"
    else:
        with torch.random.fork_rng():
            torch.manual_seed(asked.seed)
            model, source = _create(name, options), f"random, seed {asked.seed}"
    transform = _transform(model, asked)
    found = Backbone(name, "timm", model.eval(), transform, source)
    if asked.channels is None and not isinstance(asked.size, tuple):
        return found
    # What reads its own configuration, as `attach` does, must find what was asked for.
    config: Any = model.pretrained_cfg
    model.pretrained_cfg = {**config, "input_size": transform.shape}  # type: ignore[assignment]
    return found.try_one_image()


def _from_hub(name: str, options: dict[str, Any]) -> nn.Module:
    try:
        return through_hub(name, lambda: _create(name, {**options, "pretrained": True}))
    except InputError:
        raise
    except Exception as error:  # the hub's client raises many kinds, none of which the user made
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"cannot get the published weights of {name} ({reason}); give a file with --weights, "
            "or train from random ones with --no-pretrained"
        ) from error


def _check_tag(name: str) -> None:
    """Refuse a tag that the model has not, and a folder or hub's name that leads nowhere."""
    scheme, _, place = name.partition(":")
    if place or name.endswith(":"):
        config = Path(place) / "config.json"
        if scheme == "local-dir" and not config.is_file():
            raise InputError(f"{name}: no {config}; give a folder that timm or the hub wrote")
        if scheme != "local-dir" and place.count("/") != 1:
            raise InputError(f"{name} is no name on the hub; write hf-hub:OWNER/MODEL")
        return
    model, _, tag = name.partition(".")
    tags = [t.partition(".")[2] for t in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise unknown_name(f"weights of {model}", tag, tags)


def _from_file(name: str, weights: str | Path, options: dict[str, Any]) -> nn.Module:
    # The file's classifier decides the number of classes: a checkpoint of 10 classes is as good.
    if is_npz(weights):
        model = _create(name, {**options, "num_classes": npz_classes(weights)})
        load_npz(model, weights)
        return model
    with torch.device("meta"):
        plain = _create(name, options)
    head = find_head(plain)
    found = fit_from_file(plain, weights, head)
    model = _create(name, {**options, "num_classes": found.classes(head)})
    model.load_state_dict(found.state)
    return model


def _create(name: str, options: dict[str, Any]) -> nn.Module:
    """The model with as many of the options as its builder knows."""
    options = {"drop_path_rate": _DROP_PATH, **options}
    while True:
        try:
            return timm.create_model(name, **options)
        except TypeError as error:
            # Convolutional nets take any size as they are, and some have no drop path.
            known = next((o for o in ("drop_path_rate", "img_size") if o in str(error)), None)
            if known not in options:
                raise
            options.pop(str(known))
        except (AssertionError, ValueError) as error:
            asked = ", ".join(f"{o} {v}" for o, v in options.items() if o in _ASKED)
            how = f"with {asked}" if asked else "so"
            raise InputError(f"{name} cannot be built {how}: {first_line(error)}") from error


def _transform(model: nn.Module, asked: Asked) -> Transform:
    config = timm.data.resolve_model_data_config(model)
    size = asked.size or config["input_size"][-1]
    mean, std = (spread(tuple(map(float, config[k])), asked.channels) for k in ("mean", "std"))
    return Transform(size, mean, std, config["interpolation"])
