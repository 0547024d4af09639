"""What kills.py does to a process from within: ends it in a write, fills its disk, moves its clock.

Each function is called in a forked child before its study, and changes that process alone.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_write, _fsync, _replace = os.write, os.fsync, os.replace
_time, _time_ns = time.time, time.time_ns
_DAYS = 400  # the clock jumps as far, either way


def nothing() -> None:
    """Leave the process as it is."""


def count_calls(path: Path) -> None:
    """Note one byte for each call that `die_in_a_write` could die in."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    _hook(lambda: bool(_write(log, b".")) and False, _nowhere, 0.0)


def die_in_a_write(at: int, part: float) -> None:
    """End in the call number `at` of those that write, sync or rename, `part` of it done."""
    _hook(_countdown(at), _die, part)


def die_at_a_size(size: int) -> None:
    """End at the byte with which any file grows beyond `size`, whoever writes it: safetensors, in
    Rust, never calls `os.write`, and the system ends it all the same."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def fill_at_a_size(size: int) -> None:
    """Take no byte beyond `size` of any file, as a quota does: the write is cut off, or fails."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def fill_at_a_write(at: int, part: float) -> None:
    """From the call number `at` on, after `part` of its bytes, the disk is full."""
    due = _countdown(at)
    full = [False]

    def is_full() -> bool:
        full[0] = full[0] or due()
        return full[0]

    _hook(is_full, _no_space, part)


def jump(seed: int) -> None:
    """Have the wall clock jump by up to 400 days, forth or back, whenever it is asked."""
    draw = random.Random(seed)

    def ahead() -> float:
        return draw.choice((0.0, draw.uniform(-_DAYS, _DAYS) * 86400))

    time.time = lambda: _time() + ahead()
    time.time_ns = lambda: _time_ns() + int(ahead() * 1e9)


def _countdown(at: int) -> Callable[[], bool]:
    left = [at]

    def due() -> bool:
        left[0] -= 1
        return left[0] == 0

    return due


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _nowhere() -> None:
    raise AssertionError("no call is ever due")


def _hook(due: Callable[[], bool], stop: Callable[[], None], part: float) -> None:
    """Have the calls that change files stop where one is due: before, amid or after."""

    def write(file: int, data: bytes) -> int:
        if due():
            _write(file, data[: round(part * len(data))])
            stop()
        return _write(file, data)

    def around(call: Callable[..., None]) -> Callable[..., None]:
        def called(*arguments: Any, **named: Any) -> None:
            if not due():
                return call(*arguments, **named)
            if part > 0.5:
                call(*arguments, **named)
            return stop()

        return called

    os.write, os.fsync, os.replace = write, around(_fsync), around(_replace)  # type: ignore
