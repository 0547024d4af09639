"""ImageNet-1K (Russakovsky et al., IJCV 2015): class folders, or flat images with the devkit.

    ROOT/train/<wnid>/*.JPEG
    ROOT/val/<wnid>/*.JPEG, or ROOT/val/ILSVRC2012_val_00000001.JPEG with
    ROOT/ILSVRC2012_devkit_t12/data/{meta.mat,ILSVRC2012_validation_ground_truth.txt}
The published val is the test split; a val split is drawn from train, or given by index files.
"""

from __future__ import annotations

import io
import re

from foldtune.data.sources.layout import pictures
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.sets.synsets import synsets
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import Tree, open_tree
from foldtune.errors import InputError

_WNID = re.compile(r"n\d{8}")
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_DEVKIT = "unpack ILSVRC2012_devkit_t12.tar.gz into the folder, or sort val into class folders"
_PARTS = ("", "train", "val")


def read(spec: Spec) -> Listing:
    """List train and val; `imagenet:val@ROOT` lists val alone, for evaluation."""
    if spec.part not in _PARTS:
        raise InputError(f"imagenet has the parts train and val, not {spec.part!r}")
    tree = open_tree(spec.folder())
    found: list[tuple[str, str, str]] = []
    if spec.part != "val":
        found += [(name, wnid, "train") for name, wnid in _in_folders(tree, "train")]
    if spec.part != "train":
        val = _in_folders(tree, "val") or _by_devkit(tree)
        found += [(name, wnid, "test") for name, wnid in val]
    if not found:
        raise InputError(
            f"{tree.where} has neither train/n01440764/... nor val/; it holds "
            f"{', '.join(tree.top()[:8]) or 'nothing'}"
        )
    present = {wnid for _, wnid, _ in found}
    known = synsets()
    strange = sorted(present - set(known))
    classes = known if not strange and len(present) == len(known) else tuple(sorted(present))
    said = [] if len(present) == 1000 else [f"imagenet: {len(present)} of 1000 classes"]
    said += [f"imagenet: {strange[0]} is none of its classes"] if strange else []
    index = {wnid: label for label, wnid in enumerate(classes)}
    items = (Item(name, index[wnid], split) for name, wnid, split in found)
    return tree.listing(items, classes, published=True, warnings=tuple(said))


def _in_folders(tree: Tree, split: str) -> list[tuple[str, str]]:
    names = pictures(n for n in tree.stamps if n.startswith(split + "/"))[0]
    return [(n, n.split("/")[1]) for n in names if _WNID.fullmatch(n.split("/")[1])]


def _by_devkit(tree: Tree) -> list[tuple[str, str]]:
    """The flat images of val, in order, with the devkit's ids; an id is a place in meta.mat."""
    names = [n for n in pictures(tree.stamps)[0] if re.match(r"val/ILSVRC2012_val_\d+\.", n)]
    if not names:
        return []
    truth = next((n for n in tree.stamps if n.endswith(_TRUTH)), f"data/{_TRUTH}")
    ids = [int(line) for line in tree.text(truth, _DEVKIT).split()]
    meta = truth.replace(_TRUTH, "meta.mat")
    wnids = _meta(tree.read(meta, _DEVKIT), f"{tree.where}/{meta}")
    numbers = [int(re.findall(r"\d+", name)[-1]) for name in names]
    if max(numbers) > len(ids):
        raise InputError(f"{truth} has {len(ids)} rows, but there is {names[-1]}; {_DEVKIT}")
    odd = next((i for i in ids if i not in wnids), None)
    if odd is not None:
        raise InputError(f"{truth} in {tree.where} holds the id {odd}, which meta.mat does not")
    return [(name, wnids[ids[n - 1]]) for name, n in zip(names, numbers, strict=True)]


def _meta(data: bytes, where: str) -> dict[int, str]:
    from scipy.io import loadmat

    try:
        rows = loadmat(io.BytesIO(data), squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
    except Exception as error:  # scipy raises nearly anything for a damaged file
        raise InputError(f"{where} is not the devkit's meta.mat ({error}); {_DEVKIT}") from error
