"""How a worker process is started: with one end of a pipe, its share of threads, and no Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

_LINK = "PipeConnection" if sys.platform == "win32" else "Connection"
_START = (
    f"import sys, multiprocessing.connection as c; link = c.{_LINK}(int(sys.argv[1])); "
    "sys.path[:] = link.recv(); "
    "from foldtune.study.executors.processes import serve; serve(link)"
)


def start_process(link: Connection, threads: int) -> subprocess.Popen[bytes]:
    """A process that serves the other end of this link."""
    shares = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with _without_interrupts():
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(link.fileno())],
            env={**os.environ, **shares},
            **_hand_over(link.fileno()),
        )


def _hand_over(link: int) -> dict[str, Any]:
    """Options of Popen with which a process gets this end of a pipe, and on Windows no Ctrl-C."""
    if sys.platform != "win32":
        return {"pass_fds": [link]}
    os.set_handle_inheritable(link, True)
    info = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [link]})
    return {"startupinfo": info, "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started inside never hears Ctrl-C, which a terminal sends to all: the driver decides.

    Blocked and not ignored by the worker itself: it would die of one that comes as it starts.
    Windows blocks no signal; `_hand_over` keeps it away there.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
