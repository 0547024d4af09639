"""WebDataset tar shards: samples are files of one name with several extensions, in sequence.

    000012.jpg 000012.cls                the class as a number or a name
    000012.jpg 000012.json               an object with `label`, or `cls`; a list: several labels
Read with `tarfile` alone, by place, so that samples need not be read in sequence. Shards whose
names begin with train, val or test give those splits. A tar without any of this is read as class
folders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from posixpath import basename

from foldtune import gate
from foldtune.data.sources.folders import read_folders
from foldtune.data.sources.layout import SUFFIXES, is_hidden
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.tables.rows import sorted_labels
from foldtune.data.sources.trees import Tree, open_tars
from foldtune.data.splits import split_name
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel
from foldtune.tasks.recognition import joined_labels, recognise

_LABELS = ("cls", "txt", "json")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def read(spec: Spec) -> Listing:
    """List the samples of a tar, a folder of tars, or `name-{000..007}.tar`."""
    root = spec.folder()
    if spec.part:
        raise InputError(f"wds has no parts, so not {spec.part!r} ({spec.text!r})")
    return read_shards(expand(root))


def expand(root: Path) -> list[Path]:
    """The tars that a path means, in order; all must be there."""
    found = _BRACES.search(root.name)
    if found is not None:
        low, high = found[1], found[2]
        numbers = [f"{n:0{len(low)}d}" for n in range(int(low), int(high) + 1)]
        paths = [root.with_name(_BRACES.sub(number, root.name, count=1)) for number in numbers]
    elif root.is_dir():
        paths = sorted(root.glob("*.tar"))
    else:
        paths = [root]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing or not paths:
        raise InputError(
            f"no shard {', '.join(missing[:5]) or f'*.tar in {root}'} ({len(missing)} missing of "
            f"{len(paths)}); get it, or name the shards there are, such as x-{{000..007}}.tar"
        )
    return paths


def read_shards(paths: Sequence[Path]) -> Listing:
    """List the samples of tars; refuses a sample without an image or a label, by name."""
    tree = open_tars(paths)
    samples = _samples(tree, last=False)
    if not all(_whole(files) for files in samples.values()):
        by_last = _samples(tree, last=True)  # keys with dots, such as cat.v1.jpg and cat.v1.cls
        whole = all(_whole(files) for files in by_last.values())
        samples = by_last if whole else samples
    if not any(key in files for files in samples.values() for key in _LABELS):
        return read_folders(tree)
    names, labels, splits = [], [], []
    for key, files in samples.items():
        image = _image(files)
        if image is None:
            raise InputError(f"sample {key} in {tree.where} has no image, but {', '.join(files)}")
        names.append(image)
        labels.append(_label(tree, key, files))
        splits.append(_split(paths, key))
    texts = [joined_labels(one) if isinstance(one, list) else one for one in labels]
    several = any(isinstance(one, list) and len(one) != 1 for one in labels)
    task, doubt = (MultiLabel(), "") if several else recognise(texts)
    classes = sorted_labels(set(texts))
    index = {name: label for label, name in enumerate(classes)}
    given = splits if None not in splits else [None] * len(splits)
    items = map(Item, names, (index[text] for text in texts), given)
    return tree.listing(items, classes, task=task, doubt=doubt)


def _samples(tree: Tree, last: bool) -> dict[str, dict[str, str]]:
    """Files by key and extension, which begins at a name's first dot, as WebDataset has it, or at
    its last."""
    samples: dict[str, dict[str, str]] = {}
    for name in tree.stamps:
        if not is_hidden(name):
            folder, file = name[: -len(basename(name))], basename(name)
            stem, _, extension = file.rpartition(".") if last else file.partition(".")
            samples.setdefault(folder + stem, {})[extension.lower()] = name
    return samples


def _image(files: Mapping[str, str]) -> str | None:
    return next((n for e, n in files.items() if "." + e.split(".")[-1] in SUFFIXES), None)


def _whole(files: Mapping[str, str]) -> bool:
    return _image(files) is not None and any(key in files for key in _LABELS)


def _split(paths: Sequence[Path], key: str) -> str | None:
    shard = key.split("/", 1)[0] if len(paths) > 1 else paths[0].stem
    return split_name(re.split(r"[-_.\d]", shard, maxsplit=1)[0])


def _label(tree: Tree, key: str, files: dict[str, str]) -> str | list[str]:
    """The label of a sample, or a list of them."""
    for kind in _LABELS:
        if kind not in files:
            continue
        text = tree.text(files[kind]).strip()
        if kind != "json":
            return text
        about = gate.parse(text, f"{files[kind]} in {tree.where}")
        if not isinstance(about, dict):
            raise InputError(f"{files[kind]} in {tree.where} is no JSON object with a label")
        for field in ("label", "labels", "cls", "class"):
            if isinstance(about, dict) and field in about:
                found = about[field]
                return list(map(str, found)) if isinstance(found, list) else str(found)
    raise InputError(
        f"sample {key} in {tree.where} has no label; expected {key}.cls, .txt, or .json with label"
    )
