"""Data sets by name: one module per family, one line each in the table.

A family's module has `read(spec) -> Listing`; where it has parts, such as tasks or corruptions,
`parts(spec) -> names`; and where these have groups, `group(spec) -> name`. It is imported when it
is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module

from foldtune.data.sources.listing import Listing
from foldtune.data.sources.options import COMMON, apply_options
from foldtune.data.sources.spec import Spec
from foldtune.errors import unknown_name


@dataclass(frozen=True)
class Set:
    """Where a set is read, how it is named, and the options of its own."""

    module: str
    example: str
    about: str
    options: tuple[str, ...] = ()


SETS: dict[str, Set] = {
    "files": Set("files", "files:names=words.txt@photos", "any path, with options", ("group",)),
    "wds": Set("shards", "wds@shards/train-{000..007}.tar", "WebDataset tar shards"),
    "hf": Set("hf", "hf:beans", "a datasets.Dataset, by name or saved to disk",
              ("config", "image", "label", "group", "revision")),
    "domains": Set("folders", "domains:train=photo,test=sketch@pacs.zip",
                   "class folders in domain folders (PACS, DomainNet)", ("train", "test")),
    "vtab": Set("vtab", "vtab:dtd@vtab-1k", "one of the 19 tasks of VTAB-1K"),
    "cub": Set("fgvc", "cub@CUB_200_2011", "CUB-200-2011"),
    "nabirds": Set("fgvc", "nabirds@nabirds", "NABirds"),
    "flowers": Set("fgvc", "flowers@OxfordFlowers", "Oxford Flowers 102"),
    "dogs": Set("fgvc", "dogs@Stanford-dogs", "Stanford Dogs"),
    "cars": Set("fgvc", "cars@Stanford-cars", "Stanford Cars"),
    "cifar10": Set("cifar", "cifar10@cifar-10-batches-bin", "CIFAR-10, binary or python batches"),
    "cifar100": Set("cifar", "cifar100@cifar-100-binary", "CIFAR-100, likewise"),
    "imagenet": Set("imagenet", "imagenet@ILSVRC2012", "ImageNet-1K: class folders, or the devkit"),
    "imagenet-v2": Set("shifts", "imagenet-v2@imagenetv2", "ImageNet-V2, folders 0 to 999"),
    "imagenet-sketch": Set("shifts", "imagenet-sketch@sketch", "ImageNet-Sketch"),
    "imagenet-r": Set("shifts", "imagenet-r@imagenet-r", "ImageNet-R, 200 classes"),
    "imagenet-a": Set("shifts", "imagenet-a@imagenet-a", "ImageNet-A, 200 classes"),
    "imagenet-c": Set("shifts", "imagenet-c:fog,severity=3@in-c", "ImageNet-C", ("severity",)),
    "tiny-imagenet": Set("folders", "tiny-imagenet@tiny-imagenet-200", "Tiny-ImageNet"),
    "resisc45": Set("folders", "resisc45@NWPU-RESISC45", "RESISC45, one folder per class"),
    "eurosat": Set("folders", "eurosat@2750", "EuroSAT RGB, one folder per class"),
    "clevr-distance": Set("clevr", "clevr-distance@CLEVR_v1.0", "CLEVR, distance of the nearest"),
    "clevr-count": Set("clevr", "clevr-count@CLEVR_v1.0", "CLEVR, number of objects"),
    "medmnist": Set("medmnist", "medmnist:pathmnist@medmnist", "MedMNIST's .npz files"),
}  # fmt: skip


def find_set(name: str) -> Set:
    """A set by name; refused, with the nearest first, where there is none."""
    if name not in SETS:
        raise unknown_name("data set", name, SETS)
    return SETS[name]


def read_set(spec: Spec) -> Listing:
    """The listing of a set by name, with the options that every set takes applied."""
    found = find_set(spec.set)
    spec.accept(found.options, COMMON)
    listing = import_module(f"foldtune.data.sources.sets.{found.module}").read(spec)
    return apply_options(listing, spec)


def set_parts(spec: Spec) -> tuple[Spec, ...]:
    """The spec of every part of a set, or the set itself where it has none or one is named."""
    module = import_module(f"foldtune.data.sources.sets.{find_set(spec.set).module}")
    if spec.part or not hasattr(module, "parts"):
        return (spec,)
    return tuple(
        replace(spec, part=part, text=f"{spec.set}:{part}@{spec.root}")
        for part in module.parts(spec)
    )


def part_group(spec: Spec) -> str | None:
    """The group that a part of a set belongs to, where the set has groups, as VTAB has three."""
    module = import_module(f"foldtune.data.sources.sets.{find_set(spec.set).module}")
    return module.group(spec) if spec.part and hasattr(module, "group") else None
