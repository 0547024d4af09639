"""Rows of the fine-grained sets from the files they are published with."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldtune.data.sources.trees import Tree
from foldtune.errors import InputError


@dataclass(frozen=True)
class Row:
    """An image of a set: its path, its class by the set's own id, and its split."""

    path: str
    label: int
    split: str


Found = tuple[list[Row], Mapping[int, str]]  # and the names of classes by id


def birds(tree: Tree) -> Found:
    """CUB and NABirds: `id value` tables in text, images below images/."""
    paths, labels = _pairs(tree, "images.txt"), _pairs(tree, "image_class_labels.txt")
    training = _pairs(tree, "train_test_split.txt")
    rows = []
    for key, path in paths.items():
        if key not in labels or key not in training:
            missing = "image_class_labels.txt" if key not in labels else "train_test_split.txt"
            raise InputError(f"{missing} in {tree.where} has no row for image {key} ({path})")
        split = "train" if training[key] == "1" else "test"
        rows.append(Row(f"images/{path}", _whole(tree, key, labels[key]), split))
    names = _pairs(tree, "classes.txt") if "classes.txt" in tree else {}
    return rows, {int(key): name for key, name in names.items()}


def _pairs(tree: Tree, file: str) -> dict[str, str]:
    """The rows of a table: an id, a blank, and a value that may hold blanks."""
    pairs = {}
    for number, line in enumerate(tree.text(file, "unpack the archive whole").splitlines(), 1):
        key, _, value = line.strip().partition(" ")
        if line.strip() and not value:
            raise InputError(f"{tree.where}/{file}: line {number} is {line!r}, not `id value`")
        if key:
            pairs[key] = value.strip()
    return pairs


def _whole(tree: Tree, key: str, label: str) -> int:
    if not label.isdecimal():
        raise InputError(
            f"image_class_labels.txt in {tree.where}: image {key} has the class {label!r}"
        )
    return int(label)


def flowers(tree: Tree) -> Found:
    """Oxford Flowers: labels by image number, and the numbers of each split."""
    labels = np.atleast_1d(_mat(tree, "imagelabels.mat")["labels"])
    numbers = _mat(tree, "setid.mat")
    rows = []
    for key, split in (("trnid", "train"), ("valid", "val"), ("tstid", "test")):
        for number in np.atleast_1d(_field(tree, "setid.mat", numbers, key)).tolist():
            if not 1 <= number <= len(labels):
                raise InputError(
                    f"setid.mat in {tree.where} names image {number}, but imagelabels.mat has "
                    f"{len(labels)} labels"
                )
            rows.append(Row(f"jpg/image_{number:05d}.jpg", int(labels[number - 1]), split))
    return rows, {}


def dogs(tree: Tree) -> Found:
    """Stanford Dogs: cell arrays of paths, with labels."""
    rows, names = [], {}
    folder = "lists/" if "lists/train_list.mat" in tree else ""
    for split in ("train", "test"):
        file = f"{folder}{split}_list.mat"
        about = _mat(tree, file)
        paths = np.atleast_1d(_field(tree, file, about, "file_list")).tolist()
        labels = np.atleast_1d(_field(tree, file, about, "labels")).tolist()
        if len(paths) != len(labels):
            raise InputError(f"{file} in {tree.where}: {len(paths)} files, {len(labels)} labels")
        for path, label in zip(paths, labels, strict=True):
            rows.append(Row(f"Images/{path}", int(label), split))
            names[int(label)] = str(path).split("/")[0].partition("-")[2] or str(label)
    return rows, names


def cars(tree: Tree) -> Found:
    """Stanford Cars: the devkit's annotations of two folders, or cars_annos.mat of one."""
    if "cars_annos.mat" in tree:
        about = _mat(tree, "cars_annos.mat")
        found = np.atleast_1d(_field(tree, "cars_annos.mat", about, "annotations"))
        rows = [
            Row(str(a["relative_im_path"]), int(a["class"]), "test" if a["test"] else "train")
            for a in found
        ]
        return rows, _car_names(about)
    kit = "devkit/" if "devkit/cars_train_annos.mat" in tree else ""
    test = "cars_test_annos_withlabels.mat"
    test = test if test in tree else kit + test
    rows = []
    for file, split in ((f"{kit}cars_train_annos.mat", "train"), (test, "test")):
        found = np.atleast_1d(_field(tree, file, _mat(tree, file), "annotations"))
        rows += [Row(f"cars_{split}/{a['fname']}", int(a["class"]), split) for a in found]
    meta = f"{kit}cars_meta.mat"
    return rows, _car_names(_mat(tree, meta)) if meta in tree else {}


def _car_names(about: Mapping[str, Any]) -> dict[int, str]:
    names = np.atleast_1d(about.get("class_names", []))
    return {number: str(name) for number, name in enumerate(names.tolist(), 1)}


def _mat(tree: Tree, file: str) -> Mapping[str, Any]:
    from scipy.io import loadmat

    data = tree.read(file, "it holds labels or splits and is a download of its own")
    try:
        read: Mapping[str, Any] = loadmat(io.BytesIO(data), squeeze_me=True)
        return read
    except Exception as error:  # scipy raises nearly anything for a damaged file
        raise InputError(
            f"{file} in {tree.where} is not a readable .mat ({error}); fetch it again"
        ) from error


def _field(tree: Tree, file: str, about: Mapping[str, Any], key: str) -> Any:
    if key not in about:
        raise InputError(
            f"{file} in {tree.where} has no {key}, but "
            f"{', '.join(k for k in about if not k.startswith('__'))}; is it another set's?"
        )
    return about[key]
