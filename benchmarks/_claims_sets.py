"""The image sets that the claims are tried on, and how a backbone reads them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data import ImageData, load_data
from foldtune.judging.shift import Target

# name: where it is below DATA (or embedded), and its group
SETS = {
    "flowers12": ("flowers12-224.zip", "natural"),
    "photo": ("pacs-128.zip/photo", "natural"),
    "art": ("pacs-128.zip/art_painting", "natural"),
    "tiny10": ("tiny-imagenet-64.zip", "natural"),
    "digits": ("digits", "structured"),
    "shapes/count": ("shapes/count", "structured"),
    "shapes/orientation": ("shapes/orientation", "structured"),
}
AWAY = {name: f"pacs-128.zip/{name}" for name in ("art_painting", "cartoon", "sketch")}


def fewer(target: Target, most: int) -> Target:
    """At most so many images of each class, the same for every model."""
    draw = np.random.default_rng(0)
    of = [np.flatnonzero(target.labels == label) for label in np.unique(target.labels)]
    kept = np.sort(np.concatenate([draw.permutation(rows)[:most] for rows in of]))
    return replace(target, rows=target.rows[kept], labels=target.labels[kept])


def loader(transform: Any, data: Path | None, out: Path) -> Callable[[str], ImageData]:
    """What reads a path below DATA as the backbone takes images."""
    return lambda path: _load(str((data or Path()) / path), transform, out)


def images_of(name: str, transform: Any, data: Path | None, out: Path) -> ImageData:
    """A set by its name."""
    where, _ = SETS[name]
    if name == "tiny10":
        where = str(write_tiny((data or Path()) / where, out / "tiny10"))
    elif ".zip" in where:
        where = str((data or Path()) / where)
    return _load(where, transform, out)


def _load(where: str, transform: Any, out: Path) -> ImageData:
    return load_data(
        where, size=transform.size, interpolation=transform.interpolation,
        resize=transform.resize, cache=out / "cache",
    )  # fmt: skip


def write_tiny(archive: Path, folder: Path) -> Path:
    """Every twentieth class of Tiny-ImageNet, its training and its validation images as test."""
    done = folder.with_name(f"{folder.name}.done")
    if done.exists():
        return folder
    with zipfile.ZipFile(archive) as file:
        members = [name.split("/") for name in file.namelist() if name.endswith(".webp")]
        wanted = set(sorted({parts[1] for parts in members})[::20])
        for top, label, image in (parts for parts in members if parts[1] in wanted):
            place = folder / ("test" if top == "val" else top) / label / image
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read(f"{top}/{label}/{image}"))
    done.touch()
    return folder
