"""The 1,000 synsets of ImageNet-1K in the order of its labels, from timm's files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from foldtune.errors import InputError


@cache
def synsets() -> tuple[str, ...]:
    """All 1,000, sorted, so that a synset's place is its label. timm itself is not imported."""
    found = find_spec("timm")
    if found is None or found.origin is None:
        raise InputError("timm is not installed, whose list of ImageNet's classes is needed")
    file = Path(found.origin).parent / "data" / "_info" / "imagenet_synsets.txt"
    return tuple(file.read_text().split())


@cache
def known_synsets() -> frozenset[str]:
    """The same as a set."""
    return frozenset(synsets())


def imagenet_labels(classes: Sequence[str]) -> tuple[int, ...]:
    """The label in ImageNet-1K of each class that is a synset: for the logits of an ImageNet head.

    ImageNet-A and -R hold 200 of the classes: `logits[:, imagenet_labels(data.classes)]` are the
    logits among these. Raises InputError for a class that is none of the 1,000.
    """
    where = {name: label for label, name in enumerate(synsets())}
    for name in classes:
        if name not in where:
            raise InputError(f"class {name!r} is none of ImageNet-1K's synsets, such as n01440764")
    return tuple(where[name] for name in classes)
