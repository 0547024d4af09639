"""The files below a folder, a folder inside a zip, or an uncompressed tar: one view of all."""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foldtune.data.pictures.dicom import named_frame
from foldtune.data.sources.listing import Item, Listing, Reader
from foldtune.data.sources.readers import Below, FileReader, TarReader, ZipReader, irregular
from foldtune.errors import InputError, unknown_name

# What damaged archives raise: of an odd version, name, method or number, too.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, OSError, EOFError,
           ValueError, KeyError, OverflowError, RuntimeError)  # fmt: skip
MISSING, IRREGULAR = "missing", "not a regular file"  # stamps of what holds no bytes
_DEEPEST = 12  # folders; no layout that is accepted comes near


@dataclass(frozen=True)
class Tree:
    """Files by their paths ('/' between), with a stamp each, and how to read one."""

    where: str  # what errors call it
    stamps: Mapping[str, str] = field(repr=False)
    open: Reader = field(repr=False)
    origin: str = ""  # the folder that names and stamps refer to; empty if they tell the content
    empty: tuple[str, ...] = ()  # folders without a file
    twice: tuple[str, ...] = ()  # names that several files have, of which the last is read

    def __contains__(self, name: str) -> bool:
        return name in self.stamps

    def below(self, folder: str) -> Tree:
        """The files of one inner folder; refused, with the nearest folders, where it has none."""
        prefix = folder.strip("/") + "/"
        if prefix == "/":
            return self
        inner = {n.removeprefix(prefix): s for n, s in self.stamps.items() if n.startswith(prefix)}
        if not inner:
            raise unknown_name(f"folder in {self.where}", folder, self.folders())
        origin = f"{self.origin}/{folder}" if self.origin else ""
        empty = tuple(n.removeprefix(prefix) for n in self.empty if n.startswith(prefix))
        return Tree(f"{self.where}/{folder}", inner, Below(self.open, prefix), origin, empty)

    def folders(self) -> list[str]:
        """The paths of all folders that hold a file, sorted."""
        return sorted({n[:i] for n in self.stamps for i, c in enumerate(n) if c == "/"})

    def top(self) -> list[str]:
        """The names of the folders and files directly inside, sorted."""
        return sorted({name.split("/", 1)[0] for name in self.stamps})

    def read(self, name: str, cure: str = "get it, or give the folder that holds it") -> bytes:
        """The bytes of one file; refused, with the cure, where it is missing."""
        if name not in self.stamps:
            raise InputError(f"{self.where} has no {name}; {cure}")
        try:
            return self.open(name)
        except DAMAGED as error:
            raise InputError(f"{name} in {self.where} cannot be read ({error}); {cure}") from error

    def text(self, name: str, cure: str = "get it, or give the folder that holds it") -> str:
        """The text of one file, without a byte order mark; Latin-1 where it is not UTF-8."""
        data = self.read(name, cure)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("latin-1")

    def listing(self, items: Iterable[Item], classes: Iterable[str], **more: Any) -> Listing:
        """These items of the tree as a listing; a file that is not there gets a stamp, too.

        So that a wrong row of a list is reported among the unreadable images, by name.
        """
        kept = tuple(items)
        stamps = tuple(self.stamps.get(item.name, MISSING) for item in kept)
        return Listing(kept, tuple(classes), self.open, stamps, self.origin, **more)


def open_tree(path: Path) -> Tree:
    """The files of a folder, of a zip or a folder inside one, or of an uncompressed tar."""
    path = path.expanduser()
    if path.is_dir():
        origin, empty = str(path.resolve()), list[str]()
        stamps = dict(_walk(path, "", (), empty))
        return Tree(str(path), stamps, FileReader(origin), origin, tuple(empty))
    inside = split_zip(path)
    if inside is not None:
        return open_zip(inside[0]).below(inside[1])
    if path.suffix.lower() == ".tar" and path.is_file():
        return open_tars([path])
    if path.exists():
        raise InputError(f"{path} is neither a folder nor a .zip or .tar; unpack it first")
    raise InputError(f"no folder, .zip or .tar at {str(path)!r}; check the path")


def inside(path: Path) -> list[str]:
    """The names directly inside a folder, a zip or a folder in a zip; nothing deeper is visited."""
    path = path.expanduser()
    if path.is_dir():
        return sorted(n for n in os.listdir(path) if not n.startswith(".") and n != "__MACOSX")
    if split_zip(path) is not None:
        return open_tree(path).top()
    raise InputError(f"no folder or .zip at {str(path)!r}; check the path")


def split_zip(path: Path) -> tuple[Path, str] | None:
    """The zip of a path such as `data.zip/train/cat`, and the folder inside, '' for the zip itself.

    None where no part of the path is a zip.
    """
    for zipped in (path, *path.parents):
        if zipped.suffix.lower() == ".zip" and zipped.is_file():
            inner = path.relative_to(zipped).as_posix()
            return zipped, "" if inner == "." else inner
    return None


def file_stamp(path: str | Path) -> str:
    """Size, times of change and inode of a file; a file that is not there gets a stamp, too.

    As git does: a program may set the time of the content (mtime) back, but hardly that of the
    file (ctime). So that a dangling link or a wrong row is reported among the unreadable images, by
    name, what is missing has a stamp.
    """
    frame = named_frame(str(path))
    if frame is not None and not os.path.exists(path):  # `scan.dcm#12`
        stamp = file_stamp(frame[0])
        return stamp if stamp in (MISSING, IRREGULAR) else f"{stamp}#{frame[1]}"
    try:
        about = os.stat(path)
    except (OSError, ValueError):  # a name with a zero, or one that is too long, names nothing
        return MISSING
    if irregular(about.st_mode):
        return IRREGULAR
    return f"{about.st_size}:{about.st_mtime_ns}:{about.st_ctime_ns}:{about.st_ino}"


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...], empty: list[str]
) -> Iterator[Any]:
    """Every file's name and stamp; folders without any are noted in `empty`. A link back to a
    folder above is not entered again."""
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
    entries = [e for e in entries if not e.name.startswith(".") and e.name != "__MACOSX"]
    if prefix and not entries:
        empty.append(prefix.rstrip("/"))
    for entry in entries:
        name = prefix + entry.name
        if _is_folder(entry):
            yield from _walk(Path(entry.path), name + "/", (*above, here), empty)
        else:
            yield name, file_stamp(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def open_zip(path: Path) -> Tree:
    """The members of a zip. Checksum and size tell the content: a copy elsewhere is known again."""
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
    except DAMAGED as error:
        raise InputError(
            f"{path} is not a readable zip ({error}); zip the class folders again"
        ) from error
    slashed = _with_slashes(listed)
    members = {name: m for name, m in slashed if not name.endswith("/")}
    for name, member in members.items():
        _refuse_unsafe(path, name, member)
    stamps = {name: f"{m.CRC:08x}:{m.file_size}" for name, m in members.items()}
    held = {name[:at] for name in stamps for at, sign in enumerate(name) if sign == "/"}
    empty = {name.rstrip("/") for name, _ in slashed if name.endswith("/")} - held
    renamed = {name: m.filename for name, m in members.items() if name != m.filename}
    reader = ZipReader(str(path.resolve()), renamed)
    twice = [name for name, n in Counter(n for n, _ in slashed).items() if n > 1 and name in stamps]
    return Tree(str(path), stamps, reader, empty=tuple(sorted(empty)), twice=tuple(twice))


def _with_slashes(members: Sequence[zipfile.ZipInfo]) -> list[tuple[str, zipfile.ZipInfo]]:
    r"""Members by names with '/' between: where none has one, a program on Windows wrote '\'."""
    if any("/" in m.filename for m in members):
        return [(m.filename, m) for m in members]
    return [(m.filename.replace("\\", "/"), m) for m in members]


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


def open_tars(paths: Iterable[Path]) -> Tree:
    """The members of one or several uncompressed tars; of several, each below its tar's stem."""
    shards = list(paths)
    places: dict[str, tuple[str, int, int]] = {}
    stamps: dict[str, str] = {}
    for path in shards:
        prefix = f"{path.stem}/" if len(shards) > 1 else ""
        stamp = file_stamp(path)
        for member in _members(path):
            name = prefix + member.name.removeprefix("./")
            places[name] = (str(path.resolve()), member.offset_data, member.size)
            stamps[name] = f"{stamp}:{member.offset_data}"
    folder = str(shards[0].parent.resolve())
    where = str(shards[0]) if len(shards) == 1 else f"{shards[0]} and {len(shards) - 1} more"
    return replace(Tree(where, stamps, TarReader(places)), origin=folder)


def _members(path: Path) -> list[tarfile.TarInfo]:
    try:
        with tarfile.open(path, "r:") as archive:
            return [member for member in archive if member.isfile()]
    except DAMAGED as error:
        raise InputError(
            f"{path} is not a whole, uncompressed tar ({error}); fetch it again, or unpack a "
            ".tar.gz first: images inside one can only be read from the front"
        ) from error
