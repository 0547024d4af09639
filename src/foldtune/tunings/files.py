"""The picture files that a user names: one by one, by folder, by pattern, or as a list."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from foldtune.data.sources.layout import pictures
from foldtune.data.sources.trees import open_tree
from foldtune.errors import InputError

_WILD = "*?["
_LONGEST = 100  # characters of a folder that is called after a class


def expand(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, of each folder all the pictures in it, of a pattern (which the shell did
    not replace) what it stands for, sorted.

    Raises InputError for a folder without any, and a pattern that fits nothing.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += _in_folder(path)
        elif any(c in str(path) for c in _WILD) and not path.exists():
            fits = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
            files = [one for one in fits if one.is_file()]
            if not files:
                raise InputError(f"no file fits {path}")
            found += files
        else:
            found.append(path)
    return found


def read_list(lines: Iterable[str]) -> list[Path]:
    """The files of a list, a line each. Raises InputError for an empty one."""
    found = [Path(line) for line in (line.rstrip("\r\n") for line in lines) if line.strip()]
    if not found:
        raise InputError("the list of images is empty; give a path a line")
    return found


class Sorted:
    """A folder with a sub-folder for each predicted class, into which files are copied or linked.

    Names of classes are a stranger's: a sub-folder is called after its class as far as that names
    a folder inside, and no file that is there is replaced.
    """

    def __init__(self, folder: Path, classes: Sequence[str], link: bool = False) -> None:
        self.folder, self._link = folder, link
        self._places: dict[str, str] = {}
        for name in classes:
            own = "".join(c if c.isalnum() or c in " -_." else "_" for c in name)[:_LONGEST]
            own = own.strip(". ") or "_"
            taken = {place.lower() for place in self._places.values()}
            number = next(n for n in range(1, len(classes) + 2) if _with_number(own, n).lower()
                          not in taken)  # fmt: skip
            self._places[name] = _with_number(own, number)

    def take(self, path: Path, name: str) -> Path:
        """Copy or link a file to its class; where it is now."""
        folder = self.folder / self._places[name]
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while (place := folder / f"{_with_number(path.stem, number)}{path.suffix}").exists():
            number += 1
        if self._link:
            place.symlink_to(path.absolute())
        else:
            shutil.copyfile(path, place)
        return place


def _with_number(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _in_folder(path: Path) -> list[Path]:
    tree = open_tree(path)
    names, ignored = pictures(tree.stamps)
    if not names:
        others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items())
        raise InputError(f"no picture in {path} (found: {others or 'nothing'})")
    return [path / name for name in names]
