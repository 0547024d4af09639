"""MedMNIST v2 (Yang et al., Scientific Data 2023): one .npz per set, at 28 to 224 pixels."""

from __future__ import annotations

from foldtune.data.sources.arrays import read_npz
from foldtune.data.sources.listing import Listing
from foldtune.data.sources.spec import Spec
from foldtune.errors import InputError, unknown_name

_CLASSES = {
    "pathmnist": 9, "dermamnist": 7, "octmnist": 4, "pneumoniamnist": 2, "retinamnist": 5,
    "breastmnist": 2, "bloodmnist": 8, "tissuemnist": 8, "organamnist": 11, "organcmnist": 11,
    "organsmnist": 11,
}  # fmt: skip
_SIDES = ("", "_64", "_128", "_224")


def parts(spec: Spec) -> tuple[str, ...]:
    """The sets whose files are in the folder."""
    names = [name + side for name in _CLASSES for side in _SIDES]
    return tuple(name for name in names if (spec.folder() / f"{name}.npz").is_file())


def read(spec: Spec) -> Listing:
    """List one set of MedMNIST; `medmnist:pathmnist_64@FOLDER`, or the file itself behind the @."""
    root = spec.folder()
    part = spec.part or root.stem
    name = part.split("_")[0]
    if name == "chestmnist":
        raise InputError("chestmnist has 14 labels an image, which is no choice of one class")
    if name not in _CLASSES:
        raise unknown_name("set of MedMNIST", part, _CLASSES)
    path = root if root.suffix == ".npz" else root / f"{part}.npz"
    if not path.is_file():
        raise InputError(f"no {path}; get {part}.npz from MedMNIST, or give its folder")
    return read_npz(path, _CLASSES[name])
