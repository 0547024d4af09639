"""What a folder, a zip or a table of labelled images holds, before any image is decoded."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foldtune.data.layout import SUFFIXES, Item, arrange, pictures
from foldtune.errors import InputError, unknown

__all__ = ["Item", "Listing", "read_source"]
_DEEPEST = 12  # folders; no layout that is accepted comes near


@dataclass(frozen=True)
class Listing:
    """The labelled images of a source. `open` reads one item's bytes by name; it is picklable."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    open: Callable[[str], bytes]
    # Of each item, what changes when its bytes change, known without reading them. Empty: unknown,
    # so nothing is reused.
    stamps: tuple[str, ...] = ()
    origin: str = ""  # the folder that names and stamps refer to; empty if they tell the content
    ignored: Mapping[str, int] = field(default_factory=dict)  # files that are no images, by suffix


@dataclass(frozen=True)
class FileReader:
    """Reads files below a root."""

    root: str

    def __call__(self, name: str) -> bytes:
        return Path(self.root, name).read_bytes()


class ZipReader:
    """Reads members of a zip, below a folder of it: `prefix`, which ends with '/', or is empty.

    The open file does not travel: each process opens its own.
    """

    def __init__(self, path: str, prefix: str = "") -> None:
        self.path = path
        self.prefix = prefix
        self._zip: zipfile.ZipFile | None = None

    def __call__(self, name: str) -> bytes:
        if self._zip is None:
            self._zip = zipfile.ZipFile(self.path)
        return self._zip.read(self.prefix + name)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "prefix": self.prefix, "_zip": None}


def read_source(spec: str | Path) -> Listing:
    """List the labelled images of a folder, a .zip, a .csv (.tsv) or a .parquet.

    Folder and zip: `<class>/image.jpg`, or `train|val|test/<class>/image.jpg` (also `valid`,
    `validation`, in any case). Folders that only wrap the rest are descended; hidden files,
    `__MACOSX` and files without an image's extension are ignored; links are followed, loops are
    not. Classes are sorted by name. Tables: see tables.py. A folder inside a zip is named as if
    the zip were a folder: `pacs.zip/photo`.
    """
    path = Path(spec).expanduser()
    if path.is_dir():
        return _read_folder(path)
    inside = split_zip(path)
    if inside is not None and inside[1]:
        return _read_zip(*inside)
    if not path.exists():
        raise InputError(
            f"no data at {str(spec)!r}: no such folder, .zip, .csv or .parquet; check the path "
            f"(looked from {Path.cwd()})"
        )
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return _read_zip(path)
    if suffix in (".csv", ".tsv", ".parquet", ".pq"):
        from foldtune.data.tables import read_table

        return read_table(path)
    raise InputError(
        f"{spec} is neither a folder nor a .zip, .csv or .parquet; unpack it into class folders, "
        "or list its images in a CSV with columns path,label"
    )


def split_zip(path: Path) -> tuple[Path, str] | None:
    """The zip of a path such as `data.zip/train/cat`, and the folder inside, ending with '/'.

    The folder is '' for the zip itself; None where no part of the path is a zip.
    """
    for zipped in (path, *path.parents):
        if zipped.suffix.lower() == ".zip" and zipped.is_file():
            inner = path.relative_to(zipped).as_posix()
            return zipped, "" if inner == "." else inner + "/"
    return None


def _read_folder(root: Path) -> Listing:
    found = dict(_walk(root, "", ()))
    names, ignored = pictures(found)
    if not names:
        raise _no_images(str(root), ignored)
    items, classes = arrange(names, str(root))
    stamps = tuple(found[name] for name in names)
    return Listing(
        items, classes, FileReader(str(root.resolve())), stamps, str(root.resolve()), ignored
    )


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator:
    """Every file's name and stamp. A link back to a folder above is not entered again."""
    about = folder.stat()
    here = (about.st_dev, about.st_ino)
    if here in above or len(above) > _DEEPEST:
        return
    try:
        entries = list(os.scandir(folder))
    except PermissionError as error:
        raise InputError(
            f"cannot list {folder}: permission denied; grant reading, or move the folder away"
        ) from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        name = prefix + entry.name
        if entry.is_dir():
            yield from _walk(Path(entry.path), name + "/", (*above, here))
        else:
            yield name, file_stamp(entry.path)


def file_stamp(path: str | Path) -> str:
    """Size and time of change of a file; a file that is not there gets a stamp, too.

    So that a dangling link or a wrong row is reported among the unreadable images, by name.
    """
    try:
        about = os.stat(path)
    except OSError:
        return "missing"
    return f"{about.st_size}:{about.st_mtime_ns}"


def _read_zip(path: Path, folder: str = "") -> Listing:
    where = str(path / folder)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename: m for m in archive.infolist() if not m.is_dir()}
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"{path} is not a readable zip ({error}); zip the class folders again"
        ) from error
    for name, member in members.items():
        _refuse_unsafe(path, name, member)
    below = {n.removeprefix(folder): m for n, m in members.items() if n.startswith(folder)}
    if not below:
        folders = {n[: i + 1] for n in members for i, c in enumerate(n) if c == "/"}
        raise unknown(f"folder in {path}", folder[:-1], sorted(name[:-1] for name in folders))
    names, ignored = pictures(below)
    if not names:
        raise _no_images(where, ignored)
    items, classes = arrange(names, where)
    # Checksum and size tell the content, so a copy elsewhere is known again.
    stamps = tuple(f"{below[n].CRC:08x}:{below[n].file_size}" for n in names)
    return Listing(items, classes, ZipReader(str(path.resolve()), folder), stamps, ignored=ignored)


def _refuse_unsafe(path: Path, name: str, member: zipfile.ZipInfo) -> None:
    """Nothing is unpacked here, but what this zip's maker meant is no good anywhere."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or parts[0].endswith(":"):
        raise InputError(
            f"{path} holds the member {name!r}, which points outside the zip; refused: make the "
            "zip again from inside the folder of the class folders"
        )
    if member.flag_bits & 1:
        raise InputError(f"{path} is encrypted ({name!r}); unpack it with its password first")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(
            f"{path} holds a link ({name!r}) in place of a file; zip the files themselves"
        )


def _no_images(where: str, ignored: Mapping[str, int]) -> InputError:
    others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items()) or "nothing"
    return InputError(
        f"no image in {where} (found: {others}); known extensions: {' '.join(sorted(SUFFIXES))}; "
        "expected <class>/image.jpg, or train|val|test/<class>/image.jpg"
    )
