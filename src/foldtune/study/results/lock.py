"""One owner for a study folder: the lock that two drivers cannot both hold."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.errors import InputError

LOCK, OWNER = "lock", "lock.json"
# Somebody may be asking at this moment who holds it, which takes the lock for an instant.
_PATIENCE = 0.05


class FolderLock:
    """An exclusive lock on `folder/lock`; `folder/lock.json` names its holder.

    The system frees it when the process ends, however it ends, so there is no stale lock to
    delete; and filelock closes it in a forked worker, which would else hold it when orphaned.
    """

    def __init__(self, folder: Path) -> None:
        from filelock import FileLock, Timeout

        self._owner = folder / OWNER
        # One lock for all threads: a study may be closed by another than the one that claimed it.
        self._lock = FileLock(str(folder / LOCK), thread_local=False)
        try:
            self._lock.acquire(timeout=_PATIENCE, poll_interval=0.01)
        except Timeout:
            raise InputError(_taken_words(folder, _read(self._owner))) from None
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{folder} cannot be locked ({reason}); put the study on a local disk"
            ) from None
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with contextlib.suppress(OSError):  # a full disk: held all the same, only not named
            self._owner.write_text(json.dumps(owner))

    @property
    def held(self) -> bool:
        return self._lock.is_locked

    def release(self) -> None:
        if self.held:
            with contextlib.suppress(OSError):
                self._owner.unlink()
            self._lock.release()


def holder(folder: Path) -> dict[str, Any] | None:
    """The process that writes the folder (pid, host, since); None where none does."""
    from filelock import FileLock, Timeout

    if not (folder / LOCK).exists():
        return None
    lock = FileLock(str(folder / LOCK), thread_local=False)
    try:
        lock.acquire(timeout=_PATIENCE, poll_interval=0.01)
    except Timeout:
        return _read(folder / OWNER)
    except (OSError, NotImplementedError):  # not ours to write: nobody can be asked
        return None
    lock.release()
    return None


def _read(path: Path) -> dict[str, Any]:
    """What the owner wrote of itself; empty where it could not."""
    with contextlib.suppress(OSError, ValueError):
        return dict(gate.parse_file(path, largest=1 << 16))
    return {}


def _taken_words(folder: Path, owner: dict[str, Any]) -> str:
    try:
        name = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except KeyError:
        name = "another process"
    return f"study {folder} is being written by {name}; wait for it, end it, or name another folder"
