"""Images that lie in arrays: .npz files, and readers that serve one row as an image file."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foldtune.data.pictures.bands import KINDS, MOST, as_array_file
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.tables.rows import sorted_labels
from foldtune.data.sources.trees import DAMAGED
from foldtune.data.splits import SPLITS
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Regression
from foldtune.tasks.recognition import joined_labels

_IMAGES, _LABELS = ("images", "x", "pixels"), ("labels", "y")
_KEYS = "images and labels, or train_images, train_labels, ..., or x_train, y_train, ..."
MOST_CLASSES = 100_000
_THIN, _FOLD = 64 << 20, 500  # bytes from which on, and how many times, an array may be folded
_DAMAGED = (*DAMAGED, MemoryError, TypeError, IndexError)


@dataclass(frozen=True)
class Part:
    """The two arrays of one split, by their keys in the file; split None: not given."""

    split: str | None
    images: str
    labels: str


def as_file(pixels: np.ndarray) -> bytes:
    """An image's samples as a file that costs nearly nothing to read.

    (height, width, 3) or (height, width) uint8, or any type and number of channels of `read_bands`.
    """
    if pixels.dtype != np.uint8 or (pixels.ndim == 3 and pixels.shape[2] != 3):
        return as_array_file(pixels)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PPM")
    return file.getvalue()


class NpzReader:
    """Reads `key/row` of an .npz. The arrays do not travel: each process reads its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._kept: tuple[str, Any] = ("", None)

    def __call__(self, name: str) -> bytes:
        key, row = name.rsplit("/", 1)
        if self._kept[0] != key:
            refuse_folded(Path(self.path), key)
            with np.load(self.path, allow_pickle=False) as arrays:
                self._kept = (key, arrays[key])
        pixels = self._kept[1][int(row)]
        return as_file(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_kept": ("", None)}


def read_npz(path: Path, classes: int | None = None) -> Listing:
    """List the images of an .npz: arrays of images and labels, whole or one pair per split.

    Images: (images, height, width) or (images, height, width, channels), of 8 or 16 bits, int32 or
    float32; labels: (images,) or
    (images, 1), whole numbers; `classes`, if there, names them. Raises InputError for anything
    else, naming the array.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _list_items(path, arrays, classes)
    except _DAMAGED as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a whole .npz ({error}); fetch it again") from error


def _list_items(path: Path, arrays: Any, classes: int | None) -> Listing:
    found = _parts(arrays.files)
    if not found:
        raise InputError(f"{path} holds {', '.join(arrays.files)}; expected {_KEYS}")
    checks = _checksums(path)
    if (told := _list_unclassed(path, arrays, found)) is not None:
        return told
    items: list[Item] = []
    stamps: list[str] = []
    for part in found:
        refuse_folded(path, part.labels)
        labels = _labels(path, part.labels, arrays[part.labels])
        _check_images(path, part, _shape_of(path, part.images), len(labels))
        items += [Item(f"{part.images}/{n}", int(y), part.split) for n, y in enumerate(labels)]
        stamps += [f"{checks[part.images]}:row:{row}" for row in range(len(labels))]
    highest = max(item.label for item in items)
    if highest >= MOST_CLASSES:
        raise InputError(
            f"{path} holds the label {highest:,}; labels count classes from 0, of which at most "
            f"{MOST_CLASSES:,} are taken"
        )
    names = _class_names(path, arrays, classes or highest + 1)
    if highest >= len(names):
        raise InputError(f"{path} holds the label {highest}, but there are {len(names)} classes")
    return Listing(tuple(items), names, NpzReader(str(path.resolve())), tuple(stamps))


def _list_unclassed(path: Path, arrays: Any, found: Sequence[Part]) -> Listing | None:
    """The listing where labels are columns of 0 and 1, or numbers with a fraction; None where they
    are classes."""
    for part in found:
        refuse_folded(path, part.labels)
    labels = [arrays[part.labels] for part in found]
    hot = all(y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all() for y in labels)
    real = all(y.ndim <= 2 and y.dtype.kind == "f" and y.size == len(y) for y in labels)
    if not hot and not real:
        return None
    if real and not all(np.isfinite(y).all() for y in labels):
        raise InputError(f"{path} holds labels that are no number; leave these images out")
    names = _class_names(path, arrays, labels[0].shape[1] if hot else 0)
    checks, task = _checksums(path), MultiLabel() if hot else Regression()
    texts, places, stamps = [], [], []
    for part, y in zip(found, labels, strict=True):
        _check_images(path, part, _shape_of(path, part.images), len(y))
        for row, values in enumerate(y.tolist()):
            held = np.ravel(values).tolist()
            texts.append(
                joined_labels([n for n, one in zip(names, held, strict=True) if one])
                if hot else repr(held[0])
            )  # fmt: skip
            places.append((f"{part.images}/{row}", part.split))
            stamps.append(f"{checks[part.images]}:row:{row}")
    classes = sorted_labels(set(texts))
    index = {text: label for label, text in enumerate(classes)}
    items = tuple(Item(name, index[t], s) for t, (name, s) in zip(texts, places, strict=True))
    return Listing(items, classes, NpzReader(str(path.resolve())), tuple(stamps), task=task)


def _parts(keys: list[str]) -> list[Part]:
    whole = [(i, y) for i in _IMAGES for y in _LABELS if i in keys and y in keys]
    if whole:
        return [Part(None, *whole[0])]
    forms: tuple[Callable[[str, str], str], ...] = (
        lambda split, word: f"{split}_{word}",
        lambda split, word: f"{word}_{split}",
    )
    for form in forms:
        for image, label in (("images", "labels"), ("x", "y")):
            pairs = [(s, form(s, image), form(s, label)) for s in SPLITS]
            parts = [Part(s, i, y) for s, i, y in pairs if i in keys and y in keys]
            if parts:
                return parts
    return []


def _labels(path: Path, key: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise InputError(
            f"{key} in {path} is {labels.dtype} of shape {labels.shape}; expected one class from 0 "
            "per image, a column of 0 and 1 for each label, or numbers to predict"
        )
    return labels


def _check_images(
    path: Path, part: Part, about: tuple[tuple[int, ...], np.dtype], labels: int
) -> None:
    shape, dtype = about
    first = len(shape) == 4 and shape[1] <= 4 < shape[3]  # channels before height and width
    picture = len(shape) == 3 or (len(shape) == 4 and 1 <= shape[3] <= MOST and not first)
    if not picture or dtype.name not in KINDS:
        raise InputError(
            f"{part.images} in {path} is {dtype} of shape {shape}; expected {', '.join(KINDS)} of "
            "(images, height, width) or (images, height, width, channels): order the axes so, and "
            "save it again"
        )
    if shape[0] != labels:
        raise InputError(f"{path} has {shape[0]} images in {part.images} and {labels} labels")


def _shape_of(path: Path, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a member, from its header alone."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[version[0]](file)
    return shape, dtype


def refuse_folded(path: Path, key: str) -> None:
    """Refuse an array by its header: one that says to be larger than it is, or unfolds from next
    to nothing to more than memory may hold."""
    shape, dtype = _shape_of(path, key)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{key}.npy")
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or claimed > member.file_size:
        raise InputError(
            f"{key} in {path} says to hold {claimed:,} bytes and does not; write it again"
        )
    if member.file_size > _THIN and member.file_size > _FOLD * max(member.compress_size, 1):
        raise InputError(
            f"{key} in {path} unfolds from {member.compress_size:,} to {member.file_size:,} bytes, "
            "which no images, labels or weights do; refused unread"
        )


def refuse_folded_whole(path: Path) -> None:
    """Refuse a zip whose members together unfold from next to nothing, those that share their bytes
    too. A damaged one passes: whoever reads it says so."""
    whole, packed = 0, path.stat().st_size
    with contextlib.suppress(*DAMAGED), zipfile.ZipFile(path) as archive:
        whole = sum(member.file_size for member in archive.infolist())
    if whole > _THIN and whole > _FOLD * packed:
        raise InputError(
            f"{path} unfolds from {packed:,} to {whole:,} bytes, which no images or weights do; "
            "refused unread"
        )


def _checksums(path: Path) -> Mapping[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {m.filename.removesuffix(".npy"): f"{m.CRC:08x}" for m in archive.infolist()}


def _class_names(path: Path, arrays: Any, count: int) -> tuple[str, ...]:
    if "classes" not in arrays.files:
        return tuple(str(label) for label in range(count))
    return tuple(str(name) for name in arrays["classes"].ravel())
