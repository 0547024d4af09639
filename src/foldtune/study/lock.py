"""One owner for a study folder: the lock that two drivers cannot both hold."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import weakref
from pathlib import Path

from foldtune.errors import InputError


class FolderLock:
    """An exclusive flock on `folder/lock`, which names its holder.

    The kernel frees it when the process ends, however it ends, so there is no stale lock to delete.
    """

    def __init__(self, folder: Path) -> None:
        import fcntl  # absent on Windows, where a study can still be read

        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
