"""Hashes that say which data a result was made with, whatever file or folder it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from foldtune.files import HASH, digest

KEY = 2 * HASH  # characters of a hash in hex
MARK = 2 * HASH  # bytes of a key and its file's hash
NO_MARK = "00" * MARK


def image_hash(pixels: np.ndarray | bytes) -> str:
    """The hex hash of an array's bytes, such as one image's pixels, or of bytes."""
    data = pixels if isinstance(pixels, bytes) else np.ascontiguousarray(pixels).data
    return hashlib.blake2b(data, digest_size=HASH).hexdigest()


def image_key(samples: np.ndarray, space: str = "", content: str = "") -> str:
    """The hex key of one picture: its samples as stored, upright, at full size.

    samples: (height, width) or (height, width, channels), of any type, before a range is mapped or
    a scale reduced: neither a size to train at nor a way to resize is part of it. space: what the
    channels are, where their number does not say it (`CMYK`). content: `image_hash` of the samples,
    where that is known.
    """
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if samples.dtype.byteorder == ">":
        samples = samples.astype(samples.dtype.newbyteorder("<"))
    content = content or image_hash(samples)
    return digest(["foldtune image 1", height, width, channels, samples.dtype.name, space, content])


def data_identity(
    keys: Sequence[str],
    labels: Sequence[int],
    classes: Sequence[str],
    geometry: Sequence[str | int],
) -> str:
    """The hex hash of pictures, their labels, the class names and how they were resized.

    keys: `image_key` of each; geometry: size, resize, interpolation; empty for what the pictures
    are at every size. The order of the images and their names do not enter: the same pictures in a
    folder and in a zip are the same data.
    """
    pairs = sorted(zip(labels, keys, strict=True))
    images = [part for label, image in pairs for part in (label, image)]
    return digest(["foldtune data 2", *geometry, len(classes), *classes, *images])


def content_of(keys: Sequence[str], labels: Sequence[int], classes: Sequence[str]) -> str:
    """The hash of pictures, labels and class names, whatever the size they are decoded at.

    keys: `image_key` of each; what has none, since it is broken, does not count.
    """
    if all(keys):
        return data_identity(keys, labels, classes, ())
    pairs = [(key, label) for key, label in zip(keys, labels, strict=True) if key]
    return data_identity([key for key, _ in pairs], [label for _, label in pairs], classes, ())


def pack(hexes: Iterable[str]) -> str:
    """Hex hashes as one text, which JSON reads at once."""
    return "".join(hexes)


def unpack(hashes: str | bytes | bytearray, size: int = HASH) -> np.ndarray:
    """The hashes of `pack`, or their bytes, as (images, size) uint8."""
    data = bytes.fromhex(hashes) if isinstance(hashes, str) else hashes
    return np.frombuffer(data, np.uint8).reshape(-1, size)


def as_bytes(hashes: np.ndarray) -> list[bytes]:
    """Each row of (images, bytes) uint8."""
    size, data = hashes.shape[1], np.ascontiguousarray(hashes).tobytes()
    return [data[at : at + size] for at in range(0, len(data), size)]


def split_hash(splits: Mapping[str, np.ndarray]) -> str:
    """The hex hash of which rows belong to which split."""
    parts: list[str | bytes] = []
    for name in sorted(splits):
        parts += [name, np.asarray(splits[name], dtype="<i8").tobytes()]
    return digest(["foldtune splits 1", *parts])
