"""A card of decoded data: counts, balance, colours, near duplicates, and examples as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foldtune.data.images import ImageData
from foldtune.data.pictures.intensity import as_bytes
from foldtune.data.splits import SPLITS
from foldtune.data.store.duplicates import difference_hashes, near_duplicates

_CHUNK = 256  # images held in memory at a time
_SHOWN = 5  # classes and pairs that are named
_GAP = 2


def data_card(data: ImageData) -> dict[str, Any]:
    """What decoded data holds, ready for JSON. Near duplicates are looked for without a limit."""
    train = data.splits["train"] if len(data.splits["train"]) else np.arange(len(data.labels))
    mean, std = channel_statistics(data.pixels, train)
    return {
        "name": data.name,
        "images": len(data.labels),
        "classes": len(data.classes),
        "counts": data.facts["counts"],
        "balance": {name: _balance(data, data.splits[name]) for name in SPLITS},
        "size": data.facts["size"],
        "mean": [round(value, 4) for value in mean],
        "std": [round(value, 4) for value in std],
        "identity": data.identity,
        "split_rule": data.facts["split_rule"],
        "split_hash": data.facts["split_hash"],
        "same_as_train": data.facts["shared_with_train"],
        "repeated": data.facts["repeated"],
        "conflicts": data.facts["conflicts"],
        "dropped": data.facts["dropped"],
        "near_duplicates": _twins(data),
        "skipped": data.facts["skipped"],
        "ledger": data.facts["ledger"],
        "warnings": data.facts["warnings"],
    }


def channel_statistics(
    pixels: np.ndarray, rows: Sequence[int] | np.ndarray
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each colour over images, in 0..1; exact sums of 8 bits."""
    channels = pixels.shape[3]
    total, squares, count = np.zeros(channels, np.int64), np.zeros(channels, np.int64), 0
    rows = np.asarray(rows)
    for start in range(0, len(rows), _CHUNK):
        block = as_bytes(pixels[rows[start : start + _CHUNK]]).reshape(-1, channels)
        for channel in range(channels):
            values = np.bincount(block[:, channel], minlength=256)
            total[channel] += int(values @ np.arange(256))
            squares[channel] += int(values @ np.arange(256) ** 2)
        count += len(block)
    mean = total / (255 * count)
    return mean.tolist(), np.sqrt(np.maximum(squares / (255**2 * count) - mean**2, 0)).tolist()


def _balance(data: ImageData, rows: np.ndarray) -> dict[str, Any]:
    """The fewest and most images of a class, and the names of classes that have none."""
    if not len(rows):
        return {}
    counts = np.bincount(data.labels[rows], minlength=len(data.classes))
    empty = [data.classes[label] for label in np.flatnonzero(counts == 0).tolist()]
    about = {"fewest": int(counts.min()), "most": int(counts.max())}
    return about | ({"empty": empty[:_SHOWN], "empty_classes": len(empty)} if empty else {})


def _twins(data: ImageData) -> dict[str, Any]:
    prints = np.array(difference_hashes(data.pixels), np.uint64)
    found = {}
    for name in ("val", "test"):
        pairs = near_duplicates(data.pixels, prints, data.splits["train"], data.splits[name])
        named = [
            [f"{data.names[row]} ({data.classes[data.labels[row]]})" for row in pair]
            for pair in pairs[:_SHOWN]
        ]
        found[name] = {"images": len(pairs), "such_as": named}
    return found


def draw_examples(data: ImageData, path: Path, *, classes: int = 20, each: int = 8) -> None:
    """Write a picture of examples: a row a class, the first images of each in the store's order."""
    side = data.pixels.shape[1]
    shown = np.unique(np.linspace(0, len(data.classes) - 1, classes).astype(int)).tolist()
    step = side + _GAP
    sheet = np.full((step * len(shown) + _GAP, step * each + _GAP, 3), 255, np.uint8)
    for line, label in enumerate(shown):
        for place, row in enumerate(np.flatnonzero(data.labels == label)[:each].tolist()):
            top, left = _GAP + line * step, _GAP + place * step
            sheet[top : top + side, left : left + side] = shown_colours(data.pixels[row])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)


def write_picture(data: ImageData, row: int, path: Path) -> Path:
    """Write one decoded image as a picture file; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(shown_colours(data.pixels[row]))).save(path)
    return path


def shown_colours(pixels: np.ndarray) -> np.ndarray:
    """(height, width, channels) as three colours of 8 bits: the first three, or one grey."""
    eight = as_bytes(pixels)
    return eight[..., :3] if eight.shape[-1] >= 3 else eight[..., :1].repeat(3, axis=-1)
