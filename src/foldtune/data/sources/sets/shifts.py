"""Shifted test sets of ImageNet-1K: V2, Sketch, R, A and C. All images are the test split.

Classes are synsets, so labels map to those of an ImageNet head by name (`synsets.imagenet_labels`).
V2: Recht et al., ICML 2019; Sketch: Wang et al., NeurIPS 2019; R: Hendrycks et al., ICCV 2021;
A: Hendrycks et al., CVPR 2021; C: Hendrycks and Dietterich, ICLR 2019.
"""

from __future__ import annotations

from pathlib import Path
from posixpath import basename

from foldtune.data.sources.layout import pictures
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.sets.synsets import known_synsets, synsets
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import Tree, inside, open_tree
from foldtune.errors import InputError, unknown_name

_SIZES = {  # classes, images; of C: each corruption at each severity
    "imagenet-v2": (1000, 10_000),
    "imagenet-sketch": (1000, 50_889),
    "imagenet-r": (200, 30_000),
    "imagenet-a": (200, 7_500),
    "imagenet-c": (1000, 50_000),
}
SEVERITIES = ("1", "2", "3", "4", "5")


def parts(spec: Spec) -> tuple[str, ...]:
    """The corruptions of ImageNet-C; the others have no parts."""
    return tuple(_corruptions(spec.folder())) if spec.set == "imagenet-c" else ("",)


def read(spec: Spec) -> Listing:
    """List a shifted set; of C, one corruption at one severity or at all."""
    if spec.set == "imagenet-c":
        tree, times = _open_corruption(spec.folder(), spec)
    elif spec.part:
        raise InputError(f"{spec.set} has no parts, so not {spec.part!r} ({spec.text!r})")
    else:
        tree, times = open_tree(spec.folder()), 1
    names = pictures(tree.stamps)[0]
    found = [(name, _synset(tree, name, spec.set)) for name in names]
    if not found:
        raise InputError(f"no image in {tree.where}; expected <class>/image.jpg")
    present = {wnid for _, wnid in found}
    classes = tuple(wnid for wnid in synsets() if wnid in present)
    index = {wnid: label for label, wnid in enumerate(classes)}
    wanted, images = _SIZES[spec.set]
    said = []
    if len(classes) != wanted:
        said.append(f"{spec.set}: {len(classes)} classes, the set has {wanted}")
    if len(found) != images * times:
        said.append(f"{spec.set}: {len(found)} images, the set has {images * times}")
    items = (Item(name, index[wnid], "test") for name, wnid in found)
    return tree.listing(items, classes, published=True, warnings=tuple(said))


def _synset(tree: Tree, name: str, which: str) -> str:
    """The class that the folder of an image names: a synset, or in V2 a label from 0 to 999."""
    folder = basename(name.rpartition("/")[0])
    known = synsets()
    if which == "imagenet-v2" and folder.isdecimal() and int(folder) < len(known):
        return known[int(folder)]
    if folder in known_synsets():
        return folder
    expected = "a label from 0 to 999" if which == "imagenet-v2" else "a synset like n01440764"
    raise InputError(f"{name} in {tree.where} lies in {folder or 'no folder'!r}, not {expected}")


def _corruptions(root: Path) -> list[str]:
    """The folders that hold severities; the images of the others are not visited."""
    if root.is_dir():
        return [n for n in inside(root) if (root / n).is_dir() and _severities(root / n)]
    return sorted({name.split("/")[0] for name in open_tree(root).stamps if name.count("/") >= 3})


def _severities(corruption: Path) -> list[str]:
    return [name for name in inside(corruption) if name in SEVERITIES]


def _open_corruption(root: Path, spec: Spec) -> tuple[Tree, int]:
    """The folder of a corruption, or of one of its severities; and how many severities it holds."""
    known = _corruptions(root)
    if not known:
        raise InputError(f"{root} has no <corruption>/<severity>/<class>/image.JPEG")
    if spec.part not in known:
        raise unknown_name(f"corruption in {root}", spec.part, known)
    severity = spec.options.get("severity")
    if severity is None:
        return open_tree(root / spec.part), len(_severities(root / spec.part))
    if severity not in SEVERITIES:
        raise unknown_name("severity", severity, SEVERITIES)
    return open_tree(root / spec.part / severity), 1
