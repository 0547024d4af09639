"""Readers of files by name: below a folder, in a zip, in tars. All can travel to a process."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldtune.data.pictures.bands import as_array_file
from foldtune.data.pictures.dicom import named_frame, read_dicom
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.data.sources.listing import Reader
from foldtune.errors import InputError

NO_FILE = "no regular file"
LARGEST_FILE = 2 << 30  # bytes that one picture's file may have
LARGEST_MEMBER = 1 << 30  # and one picture in a zip, which a few bytes may unfold to
_THIN = 64 << 20  # bytes up to which a member of a zip may be as compressed as it will
_FOLD = 200  # of larger ones, how many times; pictures are hardly compressed by a zip


@dataclass(frozen=True)
class Below:
    """Reads files below a folder of what another reader reads."""

    open: Reader
    prefix: str

    def __call__(self, name: str) -> bytes:
        return self.open(self.prefix + name)


@dataclass(frozen=True)
class FileReader:
    """Reads files below a root."""

    root: str

    def __call__(self, name: str) -> bytes:
        file, frame = split_frame(self.root, name)
        data = regular_bytes(Path(self.root, file))
        return data if frame is None else frame_bytes(data, frame)


class ZipReader:
    """Reads members of a zip. The open file does not travel: each process opens its own."""

    def __init__(self, path: str, names: Mapping[str, str] | None = None) -> None:
        """names: what the zip calls members whose names are written otherwise here."""
        self.path, self.names = path, names or {}
        self._zip: zipfile.ZipFile | None = None

    def __call__(self, name: str) -> bytes:
        if self._zip is None:
            self._zip = zipfile.ZipFile(self.path)
        member = self._zip.getinfo(self.names.get(name, name))
        refuse_bomb(member)
        return self._zip.read(member)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "names": self.names, "_zip": None}


@dataclass(frozen=True)
class TarReader:
    """Reads members of uncompressed tars by where they lie: (file, offset, bytes) by name."""

    places: Mapping[str, tuple[str, int, int]]

    def __call__(self, name: str) -> bytes:
        path, offset, size = self.places[name]
        if size > LARGEST_FILE:
            raise InputError(f"{size:,} bytes are more than a picture's {LARGEST_FILE:,}")
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)


def split_frame(root: str | Path, name: str) -> tuple[str, int | None]:
    """The file of a name below a root, and the frame that it names (`scan.dcm#12`), if any."""
    found = named_frame(name)
    return (name, None) if found is None or Path(root, name).exists() else found


def frame_bytes(data: bytes, frame: int) -> bytes:
    """One frame of a DICOM file as a file of its own."""
    return as_array_file(read_dicom(data, MAX_PIXELS, frame))


def regular_bytes(path: str | Path, most: int = LARGEST_FILE) -> bytes:
    """The bytes of a file that is one: a FIFO would hang its reader, a device never end.

    Raises InputError for what is no file or has more than `most` bytes, OSError as `open` does.
    """
    what = irregular(os.stat(path).st_mode)
    if what is None:
        # It may have been replaced since, and opening a FIFO waits but for this flag.
        with open(path, "rb", opener=_at_once) as file:
            about = os.fstat(file.fileno())
            what = irregular(about.st_mode)
            if what is None and about.st_size > most:
                raise InputError(f"{about.st_size:,} bytes are more than a picture's {most:,}")
            if what is None:
                head = file.read(min(about.st_size, 64))
                if about.st_size > _THIN and not head.strip(b"\0"):
                    raise InputError(f"{about.st_size:,} bytes that begin with zeros, no picture")
                return head + file.read(about.st_size - len(head))
    raise InputError(f"{what}, {NO_FILE}")


def irregular(mode: int) -> str | None:
    """What a file is by its mode, where it is not a regular one."""
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
             stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "something else")


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def refuse_bomb(member: zipfile.ZipInfo) -> None:
    """Refuse a member that unfolds to more than a picture has, by what the zip says of it."""
    size, packed = member.file_size, max(member.compress_size, 1)
    if size > LARGEST_MEMBER or (size > _THIN and size > _FOLD * packed):
        raise InputError(
            f"{size:,} bytes unfold from {packed:,}, which no picture does; refused unread"
        )
