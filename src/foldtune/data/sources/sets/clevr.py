"""CLEVR (Johnson et al., CVPR 2017) with the labels of VTAB: distance and count.

    ROOT/images/{train,val}/CLEVR_train_000000.png, ROOT/scenes/CLEVR_{train,val}_scenes.json
The published val, 15,000 images, is the test split; the test of CLEVR has no scenes.
"""

from __future__ import annotations

from typing import Any

from foldtune import gate
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import Tree, open_tree
from foldtune.errors import InputError

# Distance of the nearest object from the camera, in CLEVR's units: the bounds of VTAB's 6 classes.
_BOUNDS = (8.0, 8.5, 9.0, 9.5, 10.0)
_FEWEST, _MOST = 3, 10  # objects in a scene
_SIZES = {"train": 70_000, "test": 15_000}
_LARGEST = 1 << 30  # bytes of the scenes; those of the training images have 280 million
_OBJECT = gate.fields({"pixel_coords": gate.list_of(gate.number(), 3)})
_SCENES = gate.fields({"scenes": gate.list_of(gate.fields(
    {"image_filename": gate.text(200), "objects": gate.list_of(_OBJECT, 1000)}))})  # fmt: skip


def read(spec: Spec) -> Listing:
    """List CLEVR by the distance of the nearest object, or by the number of objects."""
    if spec.part:
        raise InputError(f"{spec.set} has no parts, so not {spec.part!r} ({spec.text!r})")
    tree = open_tree(spec.folder())
    label = _distance if spec.set == "clevr-distance" else _count
    items: list[Item] = []
    for folder, split in (("train", "train"), ("val", "test")):
        file = f"scenes/CLEVR_{folder}_scenes.json"
        for scene in _scenes(tree, file):
            try:
                name = f"images/{folder}/{scene['image_filename']}"
                items.append(Item(name, label(scene["objects"]), split))
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise InputError(f"{file} in {tree.where} is not CLEVR's ({error!r})") from error
    said = []
    for split, wanted in _SIZES.items():
        count = sum(item.split == split for item in items)
        if count != wanted:
            said.append(f"{spec.set}: {count} {split} images, the set has {wanted}")
    counts = tuple(str(n) for n in range(_FEWEST, _MOST + 1))
    distances = ("below 8", "8 to 8.5", "8.5 to 9", "9 to 9.5", "9.5 to 10", "above 10")
    classes = distances if label is _distance else counts
    return tree.listing(items, classes, published=True, warnings=tuple(said))


def _scenes(tree: Tree, file: str) -> list[dict[str, Any]]:
    where = f"{file} in {tree.where}"
    told = gate.parse(tree.text(file, "unpack CLEVR_v1.0.zip whole"), where, largest=_LARGEST)
    scenes: list[dict[str, Any]] = gate.check_value(told, _SCENES, where)["scenes"]
    return scenes


def _distance(objects: list[dict[str, Any]]) -> int:
    nearest = min(float(thing["pixel_coords"][2]) for thing in objects)
    return sum(nearest > bound for bound in _BOUNDS)


def _count(objects: list[dict[str, Any]]) -> int:
    if not _FEWEST <= len(objects) <= _MOST:
        raise ValueError(f"{len(objects)} objects in a scene")
    return len(objects) - _FEWEST
