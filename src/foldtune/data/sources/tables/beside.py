"""Where the files of a table lie: beside it or in a folder there, with an extension or without."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from foldtune.data.sources.layout import SUFFIXES
from foldtune.data.sources.trees import MISSING, file_stamp

_ASKED = 64  # names by which a folder is chosen
_FOLDERS = ("images", "imgs", "img", "data", "train", "train_images", "photos", "pictures")


def found_names(table: Path, names: Sequence[str]) -> list[str]:
    """The names of a table's files as they are on disk, from the table's folder.

    As written where that file is there; below the one folder beside the table that holds them
    (`train.csv` of files in `train/`), where none of the first is there as written; with the
    extension of the one picture of that stem, where a name has none (`id_code` of Kaggle's tables).
    What is not found stays as it is, and is missing.
    """
    root = table.parent
    prefix = _prefix(table, names)
    placed = [prefix + name for name in names]
    if all(_suffix(name) in SUFFIXES for name in placed):
        return placed
    kept = _Stems(root)
    return [kept.full(name) for name in placed]


def _prefix(table: Path, names: Sequence[str]) -> str:
    """The folder, with '/' behind it, below which the first files are there; '' as written."""
    root, asked = table.parent, names[:_ASKED]
    stems = _Stems(root)
    if any(_there(root / stems.full(name)) for name in asked):
        return ""
    wanted = (table.stem, f"{table.stem}_images", *_FOLDERS)
    for folder in dict.fromkeys(wanted):
        if (root / folder).is_dir() and any(
            _there(root / stems.full(f"{folder}/{name}")) for name in asked
        ):
            return f"{folder}/"
    return ""


def _suffix(name: str) -> str:
    """The suffix of a file's name, which may name a frame of it, too."""
    return Path(name).suffix.lower().partition("#")[0]


def _there(path: Path) -> bool:
    return file_stamp(path) != MISSING


class _Stems:
    """The pictures of folders by their stems; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self._root, self._folders = root, dict[str, dict[str, list[str]]]()

    def full(self, name: str) -> str:
        """The name with the extension of the one picture of that stem, where it has none."""
        folder, slash, file = name.rpartition("/")
        if _suffix(file) in SUFFIXES:
            return name
        found = self._of(folder).get(file, [])
        return f"{folder}{slash}{found[0]}" if len(found) == 1 else name

    def _of(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._folders:
            stems: dict[str, list[str]] = {}
            place = self._root / folder
            for path in sorted(place.iterdir()) if os.path.isdir(place) else ():
                if path.suffix.lower() in SUFFIXES:
                    stems.setdefault(path.stem, []).append(path.name)
            self._folders[folder] = stems
        return self._folders[folder]
