"""Sets that are class folders: domains, Tiny-ImageNet, RESISC45, EuroSAT."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from foldtune.data.sources.folders import read_folders
from foldtune.data.sources.layout import arrange, pictures
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import Tree, open_tree
from foldtune.errors import InputError, unknown_name

_CLASSES = {"resisc45": (45, 31_500), "eurosat": (10, 27_000)}


def read(spec: Spec) -> Listing:
    """List the set that the spec names."""
    tree = open_tree(spec.folder())
    if spec.set == "domains":
        return _domains(tree, spec)
    if spec.part:
        raise InputError(f"{spec.set} has no parts, so not {spec.part!r} ({spec.text!r})")
    return _tiny_imagenet(tree) if spec.set == "tiny-imagenet" else _read_and_count(tree, spec.set)


def parts(spec: Spec) -> tuple[str, ...]:
    """The domains of a folder of domains; other sets have no parts."""
    if spec.set != "domains":
        return ("",)
    return tuple(_domain_names(_unwrap(open_tree(spec.folder()))))


def _read_and_count(tree: Tree, name: str) -> Listing:
    listing = read_folders(tree)
    classes, images = _CLASSES[name]
    said = []
    if len(listing.classes) != classes:
        said.append(f"{name}: {len(listing.classes)} classes, the set has {classes}")
    if len(listing.items) != images:
        said.append(f"{name}: {len(listing.items)} images, the set has {images}")
    return replace(listing, warnings=tuple(said))


def _domains(tree: Tree, spec: Spec) -> Listing:
    """`domains:photo`, one domain; `domains:train=photo+art,test=sketch`, from some to another.

    Domains of the test side are the test split, whole; validation is drawn from the training side.
    Classes are those of all the domains that are named, so that labels agree.
    """
    tree = _unwrap(tree)
    known = _domain_names(tree)
    train = [d for d in spec.options.get("train", spec.part).split("+") if d]
    test = [d for d in spec.options.get("test", "").split("+") if d]
    if spec.part and spec.options.get("train"):
        raise InputError(f"{spec.text!r} names {spec.part!r} and train=; give one")
    if not train:
        raise InputError(
            f"{spec.text!r} names no domain; write domains:{known[0]}@..., or "
            f"domains:train={known[0]},test={known[-1]}@...; there are: {', '.join(known)}"
        )
    for domain in (*train, *test):
        if domain not in known:
            raise unknown_name(f"domain of {tree.where}", domain, known)
    twice = sorted(set(train) & set(test))
    if twice:
        raise InputError(f"{spec.text!r} trains and tests on {twice[0]}; name it once")
    found = [(d, "test") for d in test]
    found = [*((d, "train" if test else None) for d in train), *found]  # type: ignore[list-item]
    return _join_domains(tree, found)


def _join_domains(tree: Tree, domains: Sequence[tuple[str, str | None]]) -> Listing:
    names: list[tuple[str, str, str | None]] = []
    for domain, split in domains:
        inner = tree.below(domain)
        kept, _ = pictures(inner.stamps)
        items, classes = arrange(kept, inner.where)
        names += [(f"{domain}/{item.name}", classes[item.label], split) for item in items]
    all_classes = sorted({label for _, label, _ in names})
    index = {name: label for label, name in enumerate(all_classes)}
    return tree.listing((Item(n, index[c], s) for n, c, s in names), all_classes)


def _unwrap(tree: Tree) -> Tree:
    """Without folders that only wrap the domains."""
    while len(tree.top()) == 1 and any(name.count("/") > 2 for name in tree.stamps):
        tree = tree.below(tree.top()[0])
    return tree


def _domain_names(tree: Tree) -> list[str]:
    deep = {name.split("/", 1)[0] for name in pictures(tree.stamps)[0] if name.count("/") >= 2}
    if not deep:
        raise InputError(f"{tree.where} holds no <domain>/<class>/image.jpg")
    return sorted(deep)


def _tiny_imagenet(tree: Tree) -> Listing:
    """`train/<wnid>/images/*.JPEG` with `val/val_annotations.txt`, or val in class folders.

    The published val is the test split, since the labels of `test` are not published.
    """
    tree = _unwrap(tree) if "train" not in tree.top() else tree
    names = pictures(tree.stamps)[0]
    train = [name for name in names if re.match(r"train/n\d{8}/", name)]
    if not train:
        raise InputError(f"{tree.where} has no train/n01443537/...; give the unpacked set's folder")
    classes = sorted({name.split("/")[1] for name in train})
    index = {name: label for label, name in enumerate(classes)}
    items = [Item(name, index[name.split("/")[1]], "train") for name in train]
    for name, wnid in _tiny_val(tree, names):
        if wnid not in index:
            raise InputError(f"{name} in {tree.where} is of {wnid}, which train does not hold")
        items.append(Item(name, index[wnid], "test"))
    return tree.listing(items, classes)


def _tiny_val(tree: Tree, names: Sequence[str]) -> list[tuple[str, str]]:
    folders = [name for name in names if re.match(r"val/n\d{8}/", name)]
    if folders:
        return [(name, name.split("/")[1]) for name in folders]
    cure = "it tells the classes of val/images; unpack the set again"
    rows = [row.split("\t") for row in tree.text("val/val_annotations.txt", cure).splitlines()]
    return [(f"val/images/{row[0]}", row[1]) for row in rows if len(row) > 1]
