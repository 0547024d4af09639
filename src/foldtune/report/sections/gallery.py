"""The images on which methods disagree, to be looked at and filtered."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from foldtune.data.tools.card import shown_colours
from foldtune.errors import InputError
from foldtune.report.material import Material, readable
from foldtune.report.section import Section
from foldtune.study.results.pictures import Pictures, find_pictures

Row = dict[str, Any]
MOST = 300  # images in the page
_SIDE = 96  # pixels of a thumbnail
_BYTES = 4 << 20  # of all thumbnails together


def section(study: Material) -> Section | None:
    panel = study.panel
    if panel is None or len(panel.names) < 2:
        return None
    predictions = np.stack([group[0].predictions for group in panel.runs.values()])
    unlike = int((predictions != predictions[0]).any(0).sum())
    if not unlike:
        return None
    kept = spread_out(predictions, panel.labels, MOST)
    identity = study.rows[0].get("data_identity")
    found = find_pictures(study.folder, study.asked, identity, study.cache)
    items = _items(study, predictions, kept, found)
    classes = readable(list(found.classes)) if len(found.classes) >= panel.classes else []
    shown = {
        "methods": list(panel.names),
        "classes": classes or [f"class {k}" for k in range(panel.classes)],
        "items": items,
    }
    total = len(panel.labels)
    said = (
        f"On {unlike:,} of {total:,} test images ({100 * unlike / total:.1f} %) at least two "
        "methods predict different classes."
    )
    return Section(
        "disagreement",
        "Images on which methods disagree",
        (said + _kept(items, unlike, found),),
        template="gallery.html",
        context={"shown": shown, "tested": sorted({item["c"] for item in items})},
        summary=said,
    )


def spread_out(predictions: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """At most `most` images on which methods disagree, those with the most disagreeing pairs first
    for every pair of methods and every class in turn, so that no filter finds nothing.

    predictions: (methods, images).
    """
    pairs = list(combinations(range(len(predictions)), 2))
    spread = np.zeros(len(labels), int)
    for i, j in pairs:
        spread += predictions[i] != predictions[j]
    order = np.argsort(-spread, kind="stable")
    order = order[spread[order] > 0]
    if len(order) <= most:
        return order
    queues = [order[predictions[i, order] != predictions[j, order]] for i, j in pairs]
    queues += [order[labels[order] == label] for label in np.unique(labels[order])]
    taken: dict[int, None] = {}
    for depth in range(len(order)):
        for queue in queues:
            if depth < len(queue):
                taken.setdefault(int(queue[depth]))
            if len(taken) == most:
                found = np.array(list(taken))
                return found[np.argsort(-spread[found], kind="stable")]
    return order


def thumbnail(pixels: np.ndarray) -> str:
    """A small JPEG as a data address. pixels: (height, width, channels) uint8."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(shown_colours(pixels)))
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _items(
    study: Material, predictions: np.ndarray, kept: Sequence[int] | np.ndarray, found: Pictures
) -> list[Row]:
    """n: name; c: class; p: each method's prediction; t: thumbnail, until their bytes are spent."""
    assert study.panel is not None
    rows, spent, items = study.images, 0, []
    for image in kept:
        row = int(rows[image])
        item: Row = {
            "n": readable(found.names.get(row, f"image {row}")),
            "c": int(study.panel.labels[image]),
            "p": predictions[:, image].tolist(),
        }
        if found.pixels is not None and row < len(found.pixels) and spent < _BYTES:
            with contextlib.suppress(InputError):  # a damaged picture is not shown
                item["t"] = thumbnail(found.pixels[row])
                spent += len(item["t"])
        items.append(item)
    return items


def _kept(items: Sequence[Row], unlike: int, found: Pictures) -> str:
    said = " Predictions are those of each method's first seed."
    if len(items) < unlike:
        said += (
            f" The page holds {len(items)} of these images, spread over pairs of methods and "
            "classes."
        )
    if found.pixels is None:
        said += (
            " The decoded images were not found where the study left them, so only names and "
            "labels are shown."
        )
    return said
