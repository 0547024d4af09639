"""CIFAR-10 and -100 (Krizhevsky, 2009): binary batches, python batches, or PNG folders."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foldtune.data.sources.arrays import as_file
from foldtune.data.sources.folders import read_folders
from foldtune.data.sources.listing import Item, Listing, Reader
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import Tree, open_tree
from foldtune.errors import InputError

_PIXELS = 3 * 32 * 32
_IMAGES = {"train": 50_000, "test": 10_000}


@dataclass(frozen=True)
class Form:
    """Files and label bytes of one set in both its forms."""

    binary: Mapping[str, tuple[str, ...]]
    python: Mapping[str, tuple[str, ...]]
    names: tuple[str, str]  # files of class names: binary, python
    key: str  # of the labels in a python batch, and `<key>_names` in its meta file
    labels: int  # bytes before the pixels in a binary record, of which the last is the class
    classes: int


_BATCHES = tuple(f"data_batch_{n}" for n in range(1, 6))
FORMS = {
    "cifar10": Form(
        {"train": tuple(f"{name}.bin" for name in _BATCHES), "test": ("test_batch.bin",)},
        {"train": _BATCHES, "test": ("test_batch",)},
        ("batches.meta.txt", "batches.meta"), "label", 1, 10,
    ),
    "cifar100": Form(
        {"train": ("train.bin",), "test": ("test.bin",)},
        {"train": ("train",), "test": ("test",)},
        ("fine_label_names.txt", "meta"), "fine_label", 2, 100,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class BatchReader:
    """Reads `file/row`; a batch is kept whole in memory once it is opened."""

    open: Reader
    load: Any  # from a file's bytes to (pixels, labels)
    kept: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __call__(self, name: str) -> bytes:
        file, row = name.rsplit("/", 1)
        if file not in self.kept:
            self.kept[file] = self.load(self.open(file))[0]
        return as_file(self.kept[file][int(row)].reshape(3, 32, 32).transpose(1, 2, 0))

    def __getstate__(self) -> dict[str, Any]:
        return {"open": self.open, "load": self.load, "kept": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@dataclass(frozen=True)
class Binary:
    """Records of label bytes and 3072 pixels, plane by plane."""

    labels: int

    def __call__(self, data: bytes) -> tuple[np.ndarray, list[int]]:
        width = self.labels + _PIXELS
        if not data or len(data) % width:
            raise ValueError(f"{len(data)} bytes are no whole number of {width}-byte records")
        rows = np.frombuffer(data, np.uint8).reshape(-1, width)
        return rows[:, self.labels :], rows[:, self.labels - 1].tolist()


@dataclass(frozen=True)
class Python:
    """A pickled dictionary with `data` and the labels; read by an unpickler that knows arrays."""

    key: str

    def __call__(self, data: bytes) -> tuple[np.ndarray, list[int]]:
        batch = unpickle(data)
        labels = batch[f"{self.key}s"]
        return np.asarray(batch["data"], np.uint8), [int(label) for label in labels]


class _Arrays(pickle.Unpickler):
    """Knows what arrays are made of, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        root = module.split(".")[0]
        if root == "numpy" and name in ("_reconstruct", "ndarray", "dtype", "scalar"):
            return getattr(__import__("numpy._core.multiarray", fromlist=[name]), name)
        if (module, name) == ("_codecs", "encode"):
            return __import__("_codecs").encode
        raise pickle.UnpicklingError(f"a batch needs no {module}.{name}; refused")


def unpickle(data: bytes) -> dict[str, Any]:
    """A pickled dictionary with text keys, as Python 2 wrote them or later ones do."""
    found = _Arrays(io.BytesIO(data), encoding="latin1").load()
    return {str(k, "latin1") if isinstance(k, bytes) else str(k): v for k, v in found.items()}


def read(spec: Spec) -> Listing:
    """List CIFAR-10 or -100; the classes in the order of the labels, by their names."""
    if spec.part:
        raise InputError(f"{spec.set} has no parts, so not {spec.part!r} ({spec.text!r})")
    form, tree = FORMS[spec.set], open_tree(spec.folder())
    if len(tree.top()) == 1 and not any("/" not in name for name in tree.stamps):
        inner = tree.top()[0]
        tree = tree.below(inner) if inner.startswith("cifar") else tree
    for files, load, names in (
        (form.binary, Binary(form.labels), form.names[0]),
        (form.python, Python(form.key), form.names[1]),
    ):
        if any(name in tree for split in files.values() for name in split):
            return _batches(tree, form, files, load, names)
    return read_folders(tree)


def _batches(
    tree: Tree, form: Form, files: Mapping[str, tuple[str, ...]], load: Any, names: str
) -> Listing:
    items: list[Item] = []
    stamps: list[str] = []
    for split, members in files.items():
        for file in members:
            cure = "all batches are needed; unpack the archive again"
            try:
                _, labels = load(tree.read(file, cure))
            except (ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"{file} in {tree.where} is damaged ({error}); {cure}") from error
            worst = max(labels)
            if worst >= form.classes:
                raise InputError(
                    f"{file} in {tree.where} holds the label {worst}, but the set has "
                    f"{form.classes} classes; is it the other CIFAR?"
                )
            items += [Item(f"{file}/{row}", label, split) for row, label in enumerate(labels)]
            stamps += [f"{tree.stamps[file]}:{row}" for row in range(len(labels))]
    reader = BatchReader(tree.open, load)
    classes = _class_names(tree, names, form)
    return Listing(tuple(items), classes, reader, tuple(stamps), tree.origin, warnings=_odd(items))


def _class_names(tree: Tree, file: str, form: Form) -> tuple[str, ...]:
    if file not in tree:
        return tuple(str(label) for label in range(form.classes))
    if file.endswith(".txt"):
        return tuple(line.strip() for line in tree.text(file).splitlines() if line.strip())
    return tuple(str(name) for name in unpickle(tree.read(file))[f"{form.key}_names"])


def _odd(items: list[Item]) -> tuple[str, ...]:
    counts = {split: sum(item.split == split for item in items) for split in _IMAGES}
    return tuple(
        f"{counts[split]} {split} images, the set has {wanted}"
        for split, wanted in _IMAGES.items() if counts[split] != wanted
    )  # fmt: skip
