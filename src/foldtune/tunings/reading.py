"""Images as the options say, for a backbone: to train on, or to judge a tuning on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from foldtune.backbones import Backbone
from foldtune.backbones.clip_text import ZERO_SHOT, Prompts, read_templates
from foldtune.data import ImageData, load_data
from foldtune.errors import InputError
from foldtune.options.groups import DataOptions, HeadOptions, ShiftOptions
from foldtune.tunings.shifts import read_mapping


def read_images(
    spec: str, backbone: Backbone, asked: DataOptions, seed: int | None, say: Callable[[str], None]
) -> ImageData:
    """The images at the backbone's size. seed: of splits that are not given; None draws none, for
    images that only judge, so that one will do. say: is told what is left out or looks wrong."""
    transform = backbone.transform
    if seed is not None and asked.split_seed is not None:
        seed = asked.split_seed
    found = load_data(
        spec,
        size=transform.size,
        interpolation=transform.interpolation,
        resize=asked.resize or transform.resize,
        seed=seed,
        channels=len(transform.mean),
        skip_broken=asked.skip_broken,
        conflicts=asked.conflicts,
        shots=None if seed is None else asked.shots,
        cache=asked.cache,
        range=asked.range,
        max_pixels=asked.max_pixels,
        stream=asked.stream,
        task=asked.task,
    )
    for name, reason in found.facts["skipped"].items():
        say(f"skipped {name}: {reason}")
    for warning in found.facts["warnings"]:
        say(f"warning: {warning}")
    return found


def as_described(asked: DataOptions, told: Mapping[str, Any], spec: str) -> DataOptions:
    """The options as the data was read that a tuning describes: samples of more than 8 bits by its
    range, whatever is judged; of its own data, what is broken left out as there."""
    found = asked
    if asked.range is None and (told.get("range") or told.get("wide")):
        ends = tuple(map(repr, told.get("range") or ()))
        found = replace(found, range=ends or ("header",))
    if spec == told.get("source"):
        found = replace(
            found,
            skip_broken=asked.skip_broken or bool(told.get("skip_broken")),
            max_pixels=asked.max_pixels or told.get("max_pixels"),
        )
    return found


def mapping_of(asked: ShiftOptions) -> dict[str, str]:
    """Their classes' names to ours."""
    return read_mapping(asked.map) if asked.map else {}


def head_of(asked: HeadOptions) -> str | None:
    """Where the classifier starts, as `Run` writes it; None for the method's own start."""
    if asked.head != ZERO_SHOT:
        if asked.templates or asked.words:
            raise InputError(f"--templates and --words are of --head {ZERO_SHOT} only")
        return asked.head
    given: dict[str, Any] = {}
    if asked.templates:
        given["templates"] = read_templates(asked.templates)
    if asked.words:
        given["words"] = tuple(sorted(read_mapping(asked.words).items()))
    return Prompts(**given).head
