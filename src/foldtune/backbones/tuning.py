"""Put a saved tuning back on its backbone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from foldtune.backbones.backbone import Backbone
from foldtune.backbones.loading import known_by_name, load_backbone
from foldtune.backbones.weights import as_a_file_says
from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.method import Method, settings
from foldtune.core.tuningfile import Source, TuningFile, check_base
from foldtune.errors import InputError
from foldtune.methods.catalogue import parse


def refuse_hub(_name: str) -> bool:
    """Nobody was asked whether the hub may be contacted, so it may not."""
    return False


def _method(text: str, path: object) -> Method:
    """The method that the tuning is of. Raises InputError, with the cure, for one that nobody here
    knows."""
    try:
        return parse(text)
    except InputError as error:
        name = text.partition("(")[0]
        if not str(error).startswith("unknown method"):
            raise
        raise InputError(
            f"{path} is a tuning of {text}, and {error}. One of a plug-in has to be installed, one "
            f"of a notebook to be defined here, and foldtune.methods.register({name}) called"
        ) from error


_USUAL = 1024  # a setting up to here makes no tensor that is too large


def load(
    path: Source, model: nn.Module | Backbone | None = None, *, allow_hub: bool = False
) -> Attachment:
    """Attach the tuning in `path` to `model`, in place, with its classifier and trained values.

    model: the same backbone with the same base weights; None builds the one that the file names,
    from the hub only with allow_hub or where it is in the cache.
    Raises InputError, naming the first difference, for any other backbone, and for a damaged file.
    """
    file = TuningFile.of(path)
    header, tensors = file.header, file.tensors
    if model is None:
        model = backbone_of(header, allowed=lambda _name: allow_hub)
    plain = model.model if isinstance(model, Backbone) else model
    method = _method(header["method"], file.path)
    known = {name for name, _ in plain.named_modules()}
    _refuse_unfilled(header, tensors, method, file.path)
    missing = [p for p in header["head"] if p not in known]
    if missing:
        made_for = (header.get("backbone") or {}).get("name", "another backbone")
        raise InputError(
            f"the tuning was made for {made_for}; the first difference is {missing[0]}, its "
            f"classifier, which {type(plain).__name__} does not have"
        )
    attachment = attach(
        model, method, num_classes=header["num_classes"], head=header["head"], seed=0
    )
    try:
        check_base(header, attachment)
        attachment.load_tensors(tensors)
        attachment.classifier.recall(file.start)
    except InputError:
        attachment.detach()
        raise
    return attachment


def _refuse_unfilled(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], method: Method, path: str | Path
) -> None:
    """Raise InputError where the header asks for larger tensors than the file holds, before any is
    made: attaching is to take no more memory than a file of that size is worth."""
    sides = {side for tensor in tensors.values() for side in tensor.shape}
    largest = max(_USUAL, *sides, 0)
    asked = {"num_classes": header["num_classes"]} if header["num_classes"] not in sides else {}
    for part in method.parts:
        for name, value in settings(part).items():
            if isinstance(value, int) and not -largest <= value <= largest:
                asked[name] = value
    for name, value in asked.items():
        raise InputError(
            f"{path} says {name} {value:,}, and none of its tensors is of that size; it is damaged"
        )


def backbone_of(
    header: Mapping[str, Any],
    weights: Path | None = None,
    allowed: Callable[[str], bool] = refuse_hub,
) -> Backbone:
    """The backbone that a tuning's header names, with its input size and weights. weights: the file
    that it was loaded from, where it is not a published one; allowed: whether the hub may be asked
    for a name that is not in the cache.

    Raises InputError where it was trained on a weights file, which only the user has.
    """
    facts = header.get("backbone") or {}
    if weights is not None:
        if "name" not in facts or "transform" not in facts:
            raise InputError(
                "the tuning does not name its backbone, so --weights has no model to fill"
            )
        name, images = facts["name"], images_of(facts)
        return as_a_file_says(name, lambda: load_backbone(name, weights=weights, **images), allowed)
    if not facts:
        raise InputError("the tuning does not name its backbone; give the model to load(...)")
    lacking = next((n for n in ("name", "weights", "transform") if n not in facts), None)
    if lacking:
        raise InputError(
            f"the tuning does not tell its backbone's {lacking}; give the model to load(...)"
        )
    name, trained_on, images = facts["name"], facts["weights"], images_of(facts)
    if drawn := re.fullmatch(r"random, seed (\d{1,19})", trained_on):
        return as_a_file_says(
            name,
            lambda: load_backbone(name, pretrained=False, seed=int(drawn[1]), **images),
            allowed,
        )
    if known_by_name(trained_on) and not trained_on.startswith("random"):
        return as_a_file_says(name, lambda: load_backbone(name, **images), allowed)
    raise InputError(
        f"the tuning was trained on {name} with the weights file {trained_on}; load that "
        "backbone and give it: load(path, load_backbone(name, weights=FILE)), or --weights FILE"
    )


def images_of(facts: dict[str, Any]) -> dict[str, Any]:
    """What `load_backbone` must be told of a backbone's images, from its identity."""
    transform = facts["transform"]
    channels = len(transform.get("mean", "RGB"))  # one's own loop may save less
    return {"size": transform["size"], "channels": None if channels == 3 else channels}
