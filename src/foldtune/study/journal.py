"""Optuna's journal file, made to survive its writer being killed.

Optuna 5 locks it by a second file, which a kill leaves behind: the next writer then waits 30
seconds. And a line that a kill tore makes the whole file unreadable once another is appended.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def journal(path: Path) -> Any:
    """The backend on a journal file, whose torn last line is cut off first."""
    from optuna.storages.journal import JournalFileBackend

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = _KernelLock(path)
    except ImportError:  # Windows, which has no flock: Optuna's own lock
        return JournalFileBackend(str(path))
    lock.acquire()
    try:
        _mend(path)
    finally:
        lock.release()
    return JournalFileBackend(str(path), lock)  # type: ignore[arg-type]


class _KernelLock:
    """An flock beside the journal, which the kernel frees when its holder ends, however it ends."""

    def __init__(self, path: Path) -> None:
        import fcntl

        self._flock, self._exclusive = fcntl.flock, fcntl.LOCK_EX
        self._path = path.with_name(path.name + ".flock")
        self._file = -1

    def acquire(self) -> bool:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        self._flock(self._file, self._exclusive)
        return True

    def release(self) -> None:
        os.close(self._file)


def _mend(path: Path) -> None:
    with suppress(FileNotFoundError), path.open("rb+") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
