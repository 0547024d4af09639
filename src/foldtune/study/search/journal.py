"""Optuna's journal file, made to survive its writer being killed.

Optuna locks it by a second file, which a kill leaves behind: the next writer then waits 30
seconds. And a line that a kill tore makes the whole file unreadable once another is appended.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any


def journal(path: Path) -> Any:
    """The backend on a journal file, whose torn last line is cut off first."""
    from optuna.storages.journal import JournalFileBackend

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _SystemLock(path)
    lock.acquire()
    try:
        _mend(path)
    finally:
        lock.release()
    return JournalFileBackend(str(path), lock)  # type: ignore[arg-type]


class _SystemLock:
    """A lock beside the journal, which the system frees when its holder ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".flock")
        self._lock: Any = None

    def acquire(self) -> bool:
        from filelock import FileLock

        # A new one each time: filelock refuses one that a fork inherited.
        self._lock = FileLock(str(self._path), thread_local=False)
        self._lock.acquire(poll_interval=0.01)
        return True

    def release(self) -> None:
        self._lock.release()


def _mend(path: Path) -> None:
    with suppress(FileNotFoundError), path.open("rb+") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
