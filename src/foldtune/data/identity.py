"""Hashes that say which data a result was made with, whatever file or folder it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

_BYTES = 16  # 128 bits: no accidental collision among any number of images anybody holds


def digest(parts: Iterable[str | bytes | int]) -> str:
    """The hex hash of a sequence of parts; each is prefixed by its length, so none can merge.

    Names of files that are not valid UTF-8 hold lone surrogates, hence `surrogatepass`.
    """
    total = bytearray()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        total += len(data).to_bytes(8, "little") + data
    return hashlib.blake2b(total, digest_size=_BYTES).hexdigest()


def image_hash(pixels: np.ndarray | bytes) -> str:
    """The hex hash of one image's decoded pixels, (height, width, 3) uint8, or their bytes."""
    data = pixels if isinstance(pixels, bytes) else np.ascontiguousarray(pixels).data
    return hashlib.blake2b(data, digest_size=_BYTES).hexdigest()


def data_identity(
    hashes: Sequence[str],
    labels: Sequence[int],
    classes: Sequence[str],
    geometry: Sequence[str | int],
) -> str:
    """The hex hash of decoded images, their labels, the class names and how they were resized.

    hashes: of each image's pixels; geometry: size, resize, interpolation. The order of the images
    and their names do not enter: the same pictures in a folder and in a zip are the same data.
    """
    pairs = sorted(zip(labels, hashes, strict=True))
    images = [part for label, image in pairs for part in (label, image)]
    return digest(["foldtune data 1", *geometry, len(classes), *classes, *images])


def split_hash(splits: Mapping[str, np.ndarray]) -> str:
    """The hex hash of which rows belong to which split."""
    parts: list[str | bytes] = []
    for name in sorted(splits):
        parts += [name, np.asarray(splits[name], dtype="<i8").tobytes()]
    return digest(["foldtune splits 1", *parts])
