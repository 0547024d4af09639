"""Where a study's images are, so that a report can show some of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foldtune import gate
from foldtune.analysis.row import Description
from foldtune.core.tensorfile import write_tensors
from foldtune.data import ImageData
from foldtune.data.membership import short_keys
from foldtune.data.sources.embedded import is_embedded
from foldtune.data.store.checked import CheckedPixels
from foldtune.data.store.duplicates import alike
from foldtune.data.store.entries import open_entry
from foldtune.data.store.stored import default_cache
from foldtune.study.results.artefacts import of_study
from foldtune.study.results.description import read_description
from foldtune.study.results.rowfile import replace

NAMES = "names.json"
MEMBERSHIP = "membership.safetensors"
_MANY = 20_000  # images; all pairs of them are compared in some seconds


@dataclass(frozen=True, eq=False)
class Pictures:
    """pixels: (images, size, size, 3) uint8, None where they are not found; classes: names of the
    classes, names: of images by row; both empty where they are not known."""

    pixels: CheckedPixels | None
    classes: tuple[str, ...]
    names: Mapping[int, str]


def keep_names(folder: Path, data: ImageData) -> None:
    """Write the names of the test images, which logits know by row alone."""
    names = {int(row): data.names[row] for row in data.splits.get("test", ())}
    replace(folder / NAMES, json.dumps(names).encode())


def keep_membership(folder: Path, data: ImageData) -> None:
    """Write which pictures are in which split: of every row its key and file, and splits' rows."""
    rows = torch.from_numpy(short_keys(data.keys[np.arange(len(data.labels))]))
    splits = {name: torch.from_numpy(part) for name, part in data.splits.items()}
    write_tensors({"rows": rows, **splits}, folder / MEMBERSHIP, {})


def trained_among(folder: Path, rows: np.ndarray) -> np.ndarray | None:
    """Which rows of the data show a picture that is in train or val, too: (rows,) bool; None where
    the study keeps no membership, or a damaged one. Raises Altered where it is another's."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / MEMBERSHIP
    sealed = read_description(folder)[1]
    if sealed is not None and path.exists():
        path = of_study(folder, sealed.files, MEMBERSHIP).open_checked(folder)
    try:
        kept = load_file(path)
        seen = kept["rows"][np.concatenate([kept["train"], kept["val"]])]
        asked = kept["rows"][rows]
    except (OSError, SafetensorError, KeyError, IndexError):
        return None
    return np.isin(asked[:, 0], seen[:, 0]) | np.isin(asked[:, 1], seen[:, 1])


def whereabouts(data: ImageData) -> Description:
    """What a study's description says of its images."""
    file = getattr(data.pixels, "filename", None)
    return {"classes": list(data.outputs), "pixels": file and str(Path(file).parent)}


def clusters(data: ImageData) -> list[list[int]] | None:
    """The test images that count as one: those of one group of the data (a patient, a burst), and
    those that show one picture. None where neither is known: pictures are not looked at in
    embedded sets, whose few pixels look alike, in streams, and among too many."""
    rows = data.splits.get("test", ())
    embedded = is_embedded(str(data.facts.get("source", data.name)))
    streamed = not isinstance(data.pixels, np.ndarray | CheckedPixels)
    unseen = embedded or streamed or len(rows) > _MANY
    if unseen and not data.groups:
        return None
    together: dict[str, list[int]] = {}
    for row in map(int, rows if data.groups else ()):
        together.setdefault(data.groups[row], []).append(row)
    return _join([*together.values(), *([] if unseen else alike(data.pixels, rows))])


def _join(lists: Iterable[list[int]]) -> list[list[int]]:
    """Lists that share a row made one, those of two rows and more, each in order."""
    leads: dict[int, int] = {}

    def lead(row: int) -> int:
        while leads.setdefault(row, row) != row:
            row = leads[row]
        return row

    for first, *others in lists:
        root = lead(first)
        for row in others:
            leads[lead(row)] = root
    parts: dict[int, list[int]] = {}
    for row in sorted(leads):
        parts.setdefault(lead(row), []).append(row)
    return sorted(part for part in parts.values() if len(part) > 1)


def find_pictures(
    folder: Path, asked: Mapping[str, Any], identity: str | None, cache: Path | None = None
) -> Pictures:
    """The images of this identity, from where the study left them or from the cache.

    Raises Altered where the names of images are not those that the study wrote.
    """
    classes = asked.get("classes")
    classes = classes if isinstance(classes, list) else []
    pixels = None
    places = [p for p in (asked.get("pixels"),) if isinstance(p, str)]
    if identity:
        places += [str(root / identity) for root in (cache or default_cache(), default_cache())]
    for place in places:
        found = open_entry(Path(place)) if Path(place).name == identity else None
        if found is not None:
            stored, entry = found
            pixels = CheckedPixels(stored, entry["hashes"])
            classes = entry["classes"]
            break
    path = folder / NAMES
    sealed = read_description(folder)[1]
    if sealed is not None and path.exists():
        path = of_study(folder, sealed.files, NAMES).open_checked(folder)
    return Pictures(pixels, tuple(map(str, classes)), _names(path))


def _names(path: Path) -> dict[int, str]:
    """Names are a convenience: a damaged file costs the names and nothing else."""
    try:
        return {int(row): str(name) for row, name in gate.parse_file(path).items()}
    except (OSError, ValueError, AttributeError):
        return {}
