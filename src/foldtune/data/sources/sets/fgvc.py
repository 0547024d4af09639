"""The five fine-grained sets, from their native archives or from JSON split files.

CUB-200-2011 (Wah et al., 2011), NABirds (Van Horn et al., CVPR 2015), Oxford Flowers (Nilsback and
Zisserman, ICVGIP 2008), Stanford Dogs (Khosla et al., 2011), Stanford Cars (Krause et al., 2013).
`cub:vpt@ROOT` reads ROOT/{train,val,test}.json, file name to class id, as Jia et al. (ECCV 2022)
publish their splits; without the set's own files these are read in any case. Labels are counted
from 0 over the ids that occur, in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from foldtune import gate
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.sets import fgvc_native as native
from foldtune.data.sources.sets.fgvc_native import Row
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import Tree, open_tree
from foldtune.errors import InputError

_FOLDERS = ("", "images/", "Images/", "jpg/", "cars_train/", "cars_test/")
_JSON = ("train", "val", "test")


def _id(value: Any) -> None:
    if type(value) is not int and not (isinstance(value, str) and re.fullmatch(r"\d{1,9}", value)):
        raise gate.Unfit("a whole number", value)


_LABELS = gate.mapping_of(_id, 1 << 24)


@dataclass(frozen=True)
class Native:
    """How a set is read from its own files, which of them tells that it is there, and its sizes."""

    sign: tuple[str, ...]
    read: Callable[[Tree], tuple[list[Row], Mapping[int, str]]]
    classes: int
    sizes: Mapping[str, int]


_CUB = {"train": 5_994, "test": 5_794}
_NABIRDS = {"train": 23_929, "test": 24_633}
NATIVE = {
    "cub": Native(("train_test_split.txt",), native.birds, 200, _CUB),
    "nabirds": Native(("train_test_split.txt",), native.birds, 555, _NABIRDS),
    "flowers": Native(("setid.mat",), native.flowers, 102,
                      {"train": 1_020, "val": 1_020, "test": 6_149}),
    "dogs": Native(("train_list.mat", "lists/train_list.mat"), native.dogs, 120,
                   {"train": 12_000, "test": 8_580}),
    "cars": Native(("cars_annos.mat", "devkit/cars_train_annos.mat", "cars_train_annos.mat"),
                   native.cars, 196, {"train": 8_144, "test": 8_041}),
}  # fmt: skip


def read(spec: Spec) -> Listing:
    """List one set; what differs from its published sizes is told in the warnings."""
    if spec.part not in ("", "vpt"):
        raise InputError(f"{spec.set} has the part vpt only, not {spec.part!r} ({spec.text!r})")
    about, tree = NATIVE[spec.set], _unwrap(open_tree(spec.folder()))
    own = any(sign in tree for sign in about.sign)
    jsons = [f"{split}.json" for split in _JSON if f"{split}.json" in tree]
    said = []
    if spec.part == "vpt" or (jsons and not own):
        rows, names = _from_json(tree, spec)
    elif own:
        rows, names = about.read(tree)
        said += _odd(spec.set, about, rows)
        said += [f"{jsons[0]} is not used; {spec.set}:vpt@... reads it"] if jsons else []
    else:
        raise InputError(
            f"{tree.where} has neither {about.sign[0]} nor train.json; give the folder that holds "
            f"it (here: {', '.join(tree.top()[:8]) or 'nothing'})"
        )
    ids = sorted({row.label for row in rows})
    if len(ids) != about.classes:
        said.append(f"{spec.set}: {len(ids)} classes, the set has {about.classes}")
    index = {number: label for label, number in enumerate(ids)}
    classes = _distinct([names.get(number, str(number)) for number in ids], ids)
    items = (Item(row.path, index[row.label], row.split) for row in rows)
    return tree.listing(items, classes, published=True, warnings=tuple(said))


def _distinct(names: list[str], ids: list[int]) -> list[str]:
    """NABirds calls some classes alike: these keep their id."""
    twice = {name for name in names if names.count(name) > 1}
    return [f"{n} ({i})" if n in twice else n for n, i in zip(names, ids, strict=True)]


def _unwrap(tree: Tree) -> Tree:
    while len(tree.top()) == 1 and not any("/" not in name for name in tree.stamps):
        tree = tree.below(tree.top()[0])
    return tree


def _odd(name: str, about: Native, rows: list[Row]) -> list[str]:
    counts = {split: sum(row.split == split for row in rows) for split in about.sizes}
    return [
        f"{name}: {counts[split]} {split} images, the set has {wanted}"
        for split, wanted in about.sizes.items() if counts[split] != wanted
    ]  # fmt: skip


def _from_json(tree: Tree, spec: Spec) -> tuple[list[Row], Mapping[int, str]]:
    rows: list[Row] = []
    for split in _JSON:
        file = f"{split}.json"
        where = f"{file} in {tree.where}"
        text = tree.text(file, "all of train, val and test.json are needed")
        found = gate.check_value(
            gate.parse(text, where), _LABELS, f"{where} is no map of file names to class ids"
        )
        rows += [Row(_place(tree, path), int(label), split) for path, label in found.items()]
    return rows, {}


def _place(tree: Tree, path: str) -> str:
    """Where the image lies: splits name it from the image folder, whose name differs by set."""
    return next((f + path for f in _FOLDERS if f + path in tree), path)
