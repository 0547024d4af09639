"""Readers of files by name: below a folder, in a zip, in tars. All can travel to a process."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldtune.data.sources.listing import Reader


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
        return Path(self.root, name).read_bytes()


class ZipReader:
    """Reads members of a zip. The open file does not travel: each process opens its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None

    def __call__(self, name: str) -> bytes:
        if self._zip is None:
            self._zip = zipfile.ZipFile(self.path)
        return self._zip.read(name)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_zip": None}


@dataclass(frozen=True)
class TarReader:
    """Reads members of uncompressed tars by where they lie: (file, offset, bytes) by name."""

    places: Mapping[str, tuple[str, int, int]]

    def __call__(self, name: str) -> bytes:
        path, offset, size = self.places[name]
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
