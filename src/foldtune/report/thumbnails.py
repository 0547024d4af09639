"""Small pictures within the page."""

from __future__ import annotations

import base64
import io

import numpy as np

from foldtune.data.tools.card import shown_colours
from foldtune.errors import InputError
from foldtune.study.results.pictures import Pictures

_SIDE = 128  # pixels of a thumbnail, which is drawn at 72 and enlarged


def thumbnail(found: Pictures, row: int) -> str | None:
    """The image of a row of the data as a small JPEG in a data address; None where it is not found,
    or damaged."""
    if found.pixels is None or row >= len(found.pixels):
        return None
    try:
        pixels = found.pixels[row]
    except InputError:
        return None
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(shown_colours(pixels)))
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
