"""Which class and split a picture belongs to, told from its path inside a folder or a zip."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from posixpath import splitext

from foldtune.data.pictures.foreign import KINDS
from foldtune.data.sources.ledger import Ledger, refuse_lost, unread
from foldtune.data.sources.listing import Item
from foldtune.data.splits import split_name
from foldtune.errors import InputError

_PICTURES = (
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .avif .jp2 "
    ".j2k .jpf .jpx"
)
SUFFIXES = frozenset(
    (*_PICTURES.split(), *(suffix for kind in KINDS if kind.readable for suffix in kind.suffixes))
)
_WANTED = "<class>/image.jpg, or train|val|test/<class>/image.jpg"


def is_hidden(name: str) -> bool:
    """Whether a path is an operating system's or an editor's own: `.DS_Store`, `__MACOSX/...`."""
    return name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name


def pictures(names: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    """The names with an image's extension, sorted; and how many files of others there are."""
    kept: list[str] = []
    others: Counter[str] = Counter()
    for name in names:
        if is_hidden(name):
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


def not_taken(
    names: Sequence[str], others: Iterable[str], folders: Iterable[str], where: str
) -> Ledger:
    """The ledger of files that are no pictures (`others`) and of empty folders, beside the sorted
    names of pictures, of which there is at least one. Refuses the loss of a class or split."""
    paths = [name.split("/") for name in names]
    depth = _wrappers(paths)
    inner = [path[depth:] for path in paths]
    given = all(len(path) > 2 and split_name(path[0]) is not None for path in inner)
    level, prefix = (2 if given else 1), paths[0][:depth]
    held = {tuple(path[:level]) for path in inner}
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name in others:
        path = name.split("/")
        suffix = None if is_hidden(name) else unread(name)
        if suffix is not None and path[:depth] == prefix and len(path) > depth + level:
            kinds.setdefault(tuple(path[depth : depth + level]), []).append(suffix)
    _refuse_lost(held, kinds, where, given)
    counts: dict[str, Counter[str]] = {}
    for folder, suffixes in sorted(kinds.items()):
        for suffix in suffixes:
            counts.setdefault(suffix, Counter())[_class_of(folder)] += 1
    below = [tuple(folder.split("/")[depth:]) for folder in sorted(folders)
             if not is_hidden(folder) and folder.split("/")[:depth] == prefix]  # fmt: skip
    bare = [one[0] for one in below if given and len(one) == 1 and split_name(one[0])]
    if bare:
        raise InputError(
            f"split {bare[0]} of {where} is empty, so another would stand in for it; fill it, or "
            "remove the folder"
        )
    empty = {_class_of(one) for one in below if len(one) == level}
    empty -= {_class_of(one) for one in held}
    return Ledger({suffix: dict(of) for suffix, of in counts.items()}, tuple(sorted(empty)))


def _refuse_lost(
    held: set[tuple[str, ...]], kinds: Mapping[tuple[str, ...], list[str]], where: str, given: bool
) -> None:
    """Refuse a split none of whose files, or a class none of whose files anywhere, is read."""
    tops = {one[0] for one in held}
    for folder in sorted(kinds) if given else ():
        if folder[0] not in tops and split_name(folder[0]):
            all_of = [kind for one, some in kinds.items() if one[0] == folder[0] for kind in some]
            refuse_lost(f"split {folder[0]}", all_of, where)
    for folder in sorted(kinds):
        if folder not in held:
            refuse_lost(f"class {'/'.join(folder)}", kinds[folder], where)


def _class_of(folder: Sequence[str]) -> str:
    return unicodedata.normalize("NFC", folder[-1])


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
