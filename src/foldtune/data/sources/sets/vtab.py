"""VTAB-1K (Zhai et al., arXiv 2019): 19 tasks of 1,000 training images, as repositories share it.

    ROOT/<task>/{train800,val200,train800val200,test}.txt     lines `images/test/000000.jpg 17`
    ROOT/<task>/images/...

Splits of different exporters differ, and so do their files (lossy or not): `data check` prints a
hash of the lists. A file of labels' names, if any, is given by `names=`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.lists import as_items, in_range, read_list
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import Tree, inside, open_tree
from foldtune.errors import InputError, unknown_name

GROUPS = ("natural", "specialised", "structured")
_FILES = {"train": "train800.txt", "val": "val200.txt", "test": "test.txt"}
_SIZES = {"train": 800, "val": 200}
_BOTH = "train800val200.txt"


@dataclass(frozen=True)
class Task:
    """What a task of VTAB-1K must hold."""

    group: str
    classes: int
    test: int  # images of the test split
    aliases: tuple[str, ...] = ()  # other names of its folder


TASKS: dict[str, Task] = {
    "cifar": Task("natural", 100, 10_000, ("cifar100", "cifar_100", "cifar-100")),
    "caltech101": Task("natural", 102, 6_084, ("caltech",)),
    "dtd": Task("natural", 47, 1_880),
    "oxford_flowers102": Task("natural", 102, 6_149, ("flowers102", "flowers", "oxford_flowers")),
    "oxford_iiit_pet": Task("natural", 37, 3_669, ("pets", "pet", "oxford_pet")),
    "svhn": Task("natural", 10, 26_032),
    "sun397": Task("natural", 397, 21_750, ("sun",)),
    "patch_camelyon": Task("specialised", 2, 32_768, ("camelyon", "pcam")),
    "eurosat": Task("specialised", 10, 5_400),
    "resisc45": Task("specialised", 45, 6_300, ("resisc",)),
    "diabetic_retinopathy": Task("specialised", 5, 42_670, ("retinopathy",)),
    "clevr_count": Task("structured", 8, 15_000, ("clevr-count",)),
    "clevr_dist": Task("structured", 6, 15_000, ("clevr-dist", "clevr_distance")),
    "dmlab": Task("structured", 6, 22_735),
    "kitti": Task("structured", 4, 711, ("kitti_distance",)),
    "dsprites_loc": Task("structured", 16, 73_728, ("dsprites_location", "dsprite_loc")),
    "dsprites_ori": Task("structured", 16, 73_728, ("dsprites_orientation", "dsprite_ori")),
    "smallnorb_azi": Task("structured", 18, 12_150, ("smallnorb_azimuth", "snorb_azi")),
    "smallnorb_ele": Task("structured", 9, 12_150, ("smallnorb_elevation", "snorb_ele")),
}


def task_name(name: str) -> str:
    """The task that a name or an alias means; refused, with the nearest first, if none."""
    plain = name.casefold()
    for task, about in TASKS.items():
        if plain in (task, *about.aliases):
            return task
    raise unknown_name("task of VTAB-1K", name, TASKS)


def parts(spec: Spec) -> tuple[str, ...]:
    """All tasks, present or not."""
    return tuple(TASKS)


def group(spec: Spec) -> str:
    """Natural, specialised or structured."""
    return TASKS[task_name(spec.part)].group


def read(spec: Spec) -> Listing:
    """List one task. Sizes that differ from the benchmark's are told in the warnings."""
    if not spec.part:
        raise InputError(
            f"{spec.text!r} names no task; write vtab:dtd@{spec.root or 'FOLDER'}, or another of "
            f"{', '.join(TASKS)}"
        )
    task = task_name(spec.part)
    tree = _folder(spec.folder(), task)
    about = TASKS[task]
    items: list[Item] = []
    for split, file in _FILES.items():
        where = f"{tree.where}/{file}"
        rows = read_list(tree.text(file, "export the task again: all lists are needed"), where)
        in_range(rows, about.classes, where)
        items += as_items(rows, split)
    classes = tuple(str(label) for label in range(about.classes))
    return tree.listing(items, classes, published=True, warnings=_odd(tree, task, items))


def _folder(root: Path, task: str) -> Tree:
    """The task's own folder: below the root under any of its names, or the root itself."""
    names = (task, *TASKS[task].aliases)
    found = inside(root)
    for name in found:  # the images of the other tasks are not visited
        if name.casefold() in names:
            return open_tree(root / name)
    if _FILES["test"] in found and root.name.casefold() in names:
        return open_tree(root)
    raise InputError(
        f"{root} has no folder {' or '.join(names)}; its folders are: "
        f"{', '.join(found[:12]) or 'none'}"
    )


def _odd(tree: Tree, task: str, items: list[Item]) -> tuple[str, ...]:
    """What differs from the benchmark."""
    said = []
    for split, size in {**_SIZES, "test": TASKS[task].test}.items():
        count = sum(item.split == split for item in items)
        if count != size:
            said.append(f"{task}: {count} {split} images, the benchmark has {size}")
    present = {item.label for item in items}
    if len(present) < TASKS[task].classes:
        said.append(f"{task}: {len(present)} of {TASKS[task].classes} labels occur")
    if _BOTH in tree:
        both = read_list(tree.text(_BOTH), f"{tree.where}/{_BOTH}")
        apart = sorted(item.label for item in items if item.split != "test")
        if sorted(label for _, label in both) != apart:
            said.append(f"{task}: {_BOTH} and the lists it is made of hold different labels")
    return tuple(said)
