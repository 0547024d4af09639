"""Files that are there whole or not at all, JSON that tells whether it is whole, and hashes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from foldtune.errors import Unwritable

Found = TypeVar("Found")

HASH = 16  # 128 bits: no accidental collision among any number of images anybody holds
_LONG = 1 << 16  # bytes that are gathered before they are hashed
_SETTLED = 2 * 10**9  # nanoseconds after which another write shows in a file's time of change


def names_folder(path: Path) -> bool:
    """Whether results go into a folder: one that is there, or a name without suffix."""
    return path.is_dir() or (not path.suffix and not path.exists())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside the path; what is written there takes the path's place at the end.

    A reader sees the old file or the new one. On an error the old file stays. The file's
    permissions are those that the user's umask gives, whoever writes it: safetensors makes its
    files for their owner alone (0.8), and then no server of another user may read the weights.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        fresh.touch()
        usual = fresh.stat().st_mode
        yield fresh
        if fresh.stat().st_mode != usual:
            fresh.chmod(usual & 0o777)
        os.replace(fresh, path)
    finally:
        with contextlib.suppress(OSError):  # it must not hide the error above
            fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def filling(path: Path) -> Iterator[Path]:
    """Give a new folder beside the path, which takes its name at the end. Where a folder is there
    already its other files stay, and those of the same names are replaced, in their order. On an
    error nothing of the new folder stays."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        fresh.mkdir()
        yield fresh
        if path.exists():
            for file in sorted(fresh.iterdir()):
                os.replace(file, path / file.name)
        else:
            fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def refuse_full(path: Path, needed: int) -> None:
    """Raise Unwritable where the disk of `path`, which need not be there yet, has no room for
    `needed` bytes."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Unwritable(
            f"{path} needs about {-(-needed >> 20)} MiB and {free >> 20} MiB are free; free some, "
            "or name a place on another disk"
        )


@contextlib.contextmanager
def replacing_on_disk(path: Path) -> Iterator[Path]:
    """As `replacing`, and a power cut after it takes nothing away."""
    with replacing(path) as fresh:
        yield fresh
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())  # else the new name may have old, empty pages
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a new name in the folder last through a power cut; Windows opens no folder for it."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that tells whether it is whole."""
    text = json.dumps(content)
    with path.open("w") as file:
        json.dump({"hash": digest([text]), "content": text}, file)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file of ours, or None if it is absent, cut off or altered."""
    try:
        outer = json.loads(path.read_text())
        return json.loads(outer["content"]) if outer["hash"] == digest([outer["content"]]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def once_a_file(look: Callable[[Path], Found]) -> Callable[[Path], Found]:
    """Decorates a function of a file's content: of a file that stays as it is, called once a
    process."""

    @functools.lru_cache(maxsize=1 << 14)
    def look_once(path: Path, *_state: int) -> Found:
        return look(path)

    @functools.wraps(look)
    def look_unless_known(path: Path) -> Found:
        about = path.stat()
        if time.time_ns() - about.st_mtime_ns < _SETTLED:  # another write may not show in its time
            return look(path)
        return look_once(path.absolute(), about.st_ino, about.st_size, about.st_mtime_ns)

    return look_unless_known


@once_a_file
def hash_of(path: Path) -> str:
    """The hex SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(parts: Iterable[str | bytes | int]) -> str:
    """The hex hash of a sequence of parts; each is prefixed by its length, so none can merge.

    Names of files that are not valid UTF-8 hold lone surrogates, hence `surrogatepass`.
    """
    total, hasher = bytearray(), hashlib.blake2b(digest_size=HASH)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        total += len(data).to_bytes(8, "little")
        if len(data) < _LONG:
            total += data
        if len(total) + len(data) > _LONG:
            hasher.update(total)
            total.clear()
        if len(data) >= _LONG:
            hasher.update(data)
    hasher.update(total)
    return hasher.hexdigest()
