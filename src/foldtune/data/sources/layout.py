"""Which class and split a picture belongs to, told from its path inside a folder or a zip."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from posixpath import splitext

from foldtune.data.sources.listing import Item
from foldtune.data.splits import split_name
from foldtune.errors import InputError

SUFFIXES = frozenset(
    ".jpg .jpeg .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .avif".split()  # noqa: SIM905
)
_WANTED = "<class>/image.jpg, or train|val|test/<class>/image.jpg"


def hidden(name: str) -> bool:
    """Whether a path is an operating system's or an editor's own: `.DS_Store`, `__MACOSX/...`."""
    return name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name


def pictures(names: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    """The names with an image's extension, sorted; and how many files of others there are."""
    kept: list[str] = []
    others: Counter[str] = Counter()
    for name in names:
        if hidden(name):
            continue
        suffix = splitext(name)[1].lower()
        if suffix in SUFFIXES:
            kept.append(name)
        else:
            others[suffix or "no extension"] += 1
    return sorted(kept), dict(sorted(others.items()))


def arrange(names: Sequence[str], where: str) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """Items and sorted class names, from the sorted names of the pictures in `where`.

    Folders that only wrap everything else are descended. Any other shape is refused: a picture
    that lies elsewhere would get a wrong class, or be left out, without anybody noticing.
    """
    paths = [name.split("/") for name in names]
    depth = _wrappers(paths)
    inner = [path[depth:] for path in paths]
    given = _has_splits(inner, names, where)
    _refuse_misplaced(inner, names, where, given)
    # macOS writes accents decomposed: the same class must be one class on every system.
    labels = [unicodedata.normalize("NFC", path[-2]) for path in inner]
    classes = tuple(sorted(set(labels)))
    index = {name: label for label, name in enumerate(classes)}
    splits = [split_name(path[0]) if given else None for path in inner]
    items = map(Item, names, (index[label] for label in labels), splits)
    return tuple(items), classes


def _wrappers(paths: Sequence[Sequence[str]]) -> int:
    """How many leading folders hold everything and are neither a split nor the class itself."""
    depth = 0
    while all(len(path) > depth + 2 for path in paths):
        tops = {path[depth] for path in paths}
        if len(tops) > 1 or split_name(next(iter(tops))):
            break
        depth += 1
    return depth


def _has_splits(inner: Sequence[Sequence[str]], names: Sequence[str], where: str) -> bool:
    """Whether the top folders are splits. A class may be called 'train' beside 'bus' and 'car'."""
    if any(len(path) < 2 or split_name(path[0]) is None for path in inner):
        return False
    bare = next((name for name, path in zip(names, inner, strict=True) if len(path) == 2), None)
    if bare is not None:
        raise InputError(
            f"{bare} in {where} lies directly in a split folder, so it has no class; "
            "expected train|val|test/<class>/image.jpg"
        )
    return True


def _refuse_misplaced(
    inner: Sequence[Sequence[str]], names: Sequence[str], where: str, given: bool
) -> None:
    loose = [name for name, path in zip(names, inner, strict=True) if len(path) < 2]
    if loose and len(loose) == len(names):
        raise InputError(
            f"the images of {where} lie directly in it ({loose[0]}, ...), so they have no class; "
            "put each in a folder named by its class, or list them in a CSV with columns "
            "path,label"
        )
    if loose:
        raise InputError(
            f"{len(loose)} images of {where} lie beside the class folders ({loose[0]}, ...); "
            "move them into a class folder, or away"
        )
    wanted = 3 if given else 2
    deep = [name for name, path in zip(names, inner, strict=True) if len(path) != wanted]
    if deep:
        raise InputError(
            f"{deep[0]} in {where} lies too deep to tell its class ({len(deep)} such images); "
            f"expected {_WANTED}; move the images up, give an inner folder, or list them in a CSV "
            "with columns path,label"
        )
