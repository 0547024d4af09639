"""The files of the pixel store: written whole or not at all, and told from damaged ones.

An entry is a folder named by the identity of what it holds:
    pixels.raw    rows of (size, size, channels) uint8, or uint16 or float32 where the set has more
    entry.json    geometry, classes, and label, key and hashes of each row
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.pictures.intensity import BYTES
from foldtune.data.store.decode import shape_of
from foldtune.files import read_json, sync_folder

FORMAT = 3
_STALE = 2 * 86400  # seconds after which another machine's temporary folder is rubbish


def open_entry(folder: Path) -> tuple[np.memmap, dict[str, Any]] | None:
    """The pixels of an entry and what it says of them, or None if it is absent or damaged.

    Checked: the description's own hash, the identity against the folder's name and the size of the
    pixels. Each row is checked when it is first used, see `CheckedPixels`.
    """
    about = read_json(folder / "entry.json")
    if about is None or about.get("format") != FORMAT or about.get("identity") != folder.name:
        return None
    shape = (len(about["labels"]), *shape_of(about["geometry"][0], about.get("channels", 3)))
    path = folder / "pixels.raw"
    try:
        kind = np.dtype(about.get("depth", BYTES))
        if path.stat().st_size != math.prod(shape) * kind.itemsize:
            return None
        pixels = np.memmap(path, kind, "r", shape=shape)
    except (OSError, TypeError, ValueError):
        return None
    with contextlib.suppress(OSError):  # a shared cache may be read-only
        os.utime(folder / "entry.json")  # when it was used last, for `data cache --limit`
    return pixels, about


def publish(entry: Path, final: Path, temporary: Path) -> None:
    """Give a complete entry its name, unless a sound one has it; a damaged one is moved away."""
    for attempt in range(10):
        if open_entry(final) is not None:
            return
        with contextlib.suppress(FileNotFoundError):
            os.rename(final, temporary / f"damaged{attempt}")
        try:
            os.rename(entry, final)
            sync_folder(final.parent)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def permute(file: Path, order: Sequence[int], kept: int, row_bytes: int) -> None:
    """Bring row order[i] of a file to row i, in place, and cut it after `kept` rows.

    Each cycle is walked with one row in memory, so a store that fills the disk needs no second.
    """
    moved = [False] * len(order)
    with file.open("r+b") as rows:

        def read(row: int) -> bytes:
            rows.seek(row * row_bytes)
            return rows.read(row_bytes)

        def write(row: int, data: bytes) -> None:
            rows.seek(row * row_bytes)
            rows.write(data)

        for start in range(len(order)):
            if moved[start] or order[start] == start:
                continue
            first, row = read(start), start
            while order[row] != start:
                write(row, read(order[row]))
                moved[row] = True
                row = order[row]
            write(row, first)
            moved[row] = True
        rows.truncate(kept * row_bytes)
        rows.flush()
        os.fsync(rows.fileno())


@contextlib.contextmanager
def temporary_folder(cache: Path, rescue: Callable[[Path, Path], None]) -> Iterator[Path]:
    """A folder inside the cache to build in; what killed builds left there is removed first, after
    rescue(our folder, theirs)."""
    prefix = f"tmp-{socket.gethostname()}-{os.getpid()}-"
    ours = Path(tempfile.mkdtemp(prefix=prefix, dir=cache))
    try:
        for folder in cache.glob("tmp-*"):
            with contextlib.suppress(OSError):
                if _is_abandoned(folder):
                    rescue(ours, folder)
                    shutil.rmtree(folder, ignore_errors=True)
        yield ours
    finally:
        shutil.rmtree(ours, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Whether the process named in a temporary folder is dead; elsewhere, whether it is old."""
    host, process, _ = folder.name.removeprefix("tmp-").rsplit("-", 2)
    if time.time() - folder.stat().st_mtime > _STALE:
        return True
    # Only POSIX can ask by signal 0; Windows would end the process.
    if os.name != "posix" or host != socket.gethostname():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
