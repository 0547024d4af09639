"""Workers of a Ray cluster on this machine, killed one by one while they are at a study."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

_LOOK = 0.05  # seconds between two looks at who is there
_PATIENCE = 300.0  # seconds for one worker to come, or one row


def kill_workers(
    driver: int,
    kills: int,
    draw: random.Random,
    stored: Callable[[], int],
    ended: Callable[[], bool],
) -> int:
    """Kill so many workers below the process `driver`, each at a random moment; how many were.

    stored: how many rows there are. Between two kills one row is waited for.
    """  # fmt: skip
    done = 0
    while done < kills and not ended():
        rows = stored()
        workers = _awaited(lambda: _workers(driver), ended)
        if not workers:
            break
        time.sleep(draw.uniform(0, 2))
        still = [process for process in _workers(driver) if process in workers]
        if not still:
            continue
        os.kill(draw.choice(still), signal.SIGKILL)
        done += 1
        _awaited(lambda: stored() > rows, ended)  # noqa: B023
    return done


def _awaited(look: Callable[[], object], ended: Callable[[], bool]) -> list[int]:
    """What `look` finds once it finds something; empty where the driver has ended before."""
    begun = time.monotonic()
    while time.monotonic() - begun < _PATIENCE and not ended():
        if found := look():
            return found if isinstance(found, list) else [1]
        time.sleep(_LOOK)
    return []


def _workers(driver: int) -> list[int]:
    """The workers at a run (Ray names them so), of those processes that the driver started."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            names[int(entry.name)] = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            after = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(entry.name)] = int(after[1])

    def below(process: int) -> bool:
        while process in parents and process != driver:
            process = parents[process]
        return process == driver

    return [p for p, name in names.items() if name.startswith("ray::_Actor") and below(p)]
