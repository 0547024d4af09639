"""One owner for a study folder: the lock that two drivers cannot both hold."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import weakref
from pathlib import Path
from typing import Any

from foldtune.errors import InputError

_ATTEMPTS = 5


class FolderLock:
    """An exclusive flock on `folder/lock`, which names its holder.

    The kernel frees it when the process ends, however it ends, so there is no stale lock to delete.
    """

    def __init__(self, folder: Path) -> None:
        import fcntl  # absent on Windows, where a study can still be read

        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 1000, 0)
            self.release()
            if not isinstance(error, BlockingIOError):
                raise InputError(
                    f"{folder} cannot be locked ({error.strerror}); put the study on a local disk"
                ) from None
            raise InputError(_taken(folder, holder)) from None
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with contextlib.suppress(OSError):  # a full disk: held all the same, only not named
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(owner).encode(), 0)
        _alive.add(self)

    @property
    def held(self) -> bool:
        return self._file >= 0

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def holder(folder: Path) -> dict[str, Any] | None:
    """The process that writes the folder (pid, host, since); None where none does."""
    try:
        import fcntl

        file = os.open(folder / "lock", os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(ValueError):
            return dict(json.loads(os.pread(file, 1000, 0)))
        return {}
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def _take(file: int, kind: int) -> None:
    """Lock the file, though somebody may be asking at this moment who holds it."""
    import fcntl

    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(file, kind)
            return
        except BlockingIOError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.01)


def _taken(folder: Path, holder: bytes) -> str:
    try:
        owner = json.loads(holder)
        name = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        name = "another process"
    return f"study {folder} is being written by {name}; wait for it, end it, or name another folder"


# A forked worker shares the lock: were its driver killed, the orphan would hold it for ever.
_alive: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _drop_inherited() -> None:
    for lock in list(_alive):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_inherited)
