"""Which of several processes this is, and how many cores it may use.

Several are there where `torchrun` or `accelerate launch` started them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def rank() -> int:
    """This process's number from 0; 0 where there is only one."""
    return int(os.environ.get("RANK", 0))


def processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def first() -> bool:
    """Whether this process writes files and prints: the others compute the same beside it."""
    return rank() == 0


def leave() -> None:
    """Leave the group of processes, where one was joined; it is missed, with a warning, else."""
    torch = sys.modules.get("torch")
    distributed = None if torch is None else torch.distributed
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of memory that this process may use: the machine's, or its container's."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if os.name == "posix" else 0
    try:
        return min(whole, int(limit.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return whole
