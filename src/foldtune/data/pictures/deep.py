"""Colours of 16 bits, of which Pillow gives the higher eight alone (13.0), read whole.

Pillow unpacks either byte of a sample, by the order of bytes that it is told: so the file is
decoded once more with the other order, which gives the lower bytes.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps

from foldtune.data.pictures.opening import open_picture

TIFF = (b"II*\0", b"MM\0*")
_PNG = b"\x89PNG\r\n\x1a\n"
_OTHER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


def is_deep(data: bytes) -> bool:
    """Whether these may be colours, or grey with alpha, of 16 bits; told from the first bytes."""
    if data.startswith(_PNG):
        return data[24:25] == b"\x10" and data[25:26] in (b"\2", b"\4", b"\6")
    return data.startswith(TIFF)


def deep_samples(data: bytes, max_pixels: int) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Samples of 16 bits, upright, and 8 bits of alpha where there is any; None where the picture
    has 8 bits.

    Returns (height, width) or (height, width, 3) uint16, and (height, width) uint8.
    """
    if data.startswith(_PNG) and data[25:26] == b"\4":
        four = _unpack(data, max_pixels, "RGBA")  # high, low, alpha's high, alpha's low
        return _join(four[..., 0], four[..., 1]), four[..., 2]
    with open_picture(data, max_pixels) as image:
        rawmode = _rawmode(image)
    mode, _, order = rawmode.partition(";")
    if mode not in ("RGB", "RGBA", "RGBX") or order not in _OTHER:
        return None
    high = _unpack(data, max_pixels, rawmode)
    low = _unpack(data, max_pixels, f"{mode};{_OTHER[order]}")
    alpha = high[..., 3] if mode == "RGBA" and high.shape[2] == 4 else None
    return _join(high[..., :3], low[..., :3]), alpha


def _join(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    both: np.ndarray = high.astype(np.uint16) << 8
    both |= low
    return both


def _unpack(data: bytes, max_pixels: int, rawmode: str) -> np.ndarray:
    with open_picture(data, max_pixels) as image:
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [
            tile._replace(
                args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode
            )
            for tile in image.tile
        ]
        image.load()
        turned: Image.Image = image
        with contextlib.suppress(Exception):  # as `upright` does
            if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                turned = ImageOps.exif_transpose(image)
        return np.asarray(turned)


def _rawmode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None) or []
    args = tiles[0].args if tiles else None
    return str(args[0]) if isinstance(args, tuple) and args else str(args or "")
