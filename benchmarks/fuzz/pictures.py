"""Cases of strangers' files, each read in a process that is watched; see README.md.

    python benchmarks/fuzz/pictures.py [--cases 6000] [--seed 0] [--kind KIND] [--only N]
        [--workers 2]

Prints a line a failure, and one a kind: how many cases, how many were read, how many refused.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import containers
import images
from _memory import peak

from foldtune.errors import InputError

SECONDS, MEBIBYTES = 10, 1024
_STEP = 400  # cases a process takes at a time; a start costs a second
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn",
              "pickle.find_class", "os.startfile")  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of input. make: the files of a case; read: what foldtune does with their folder;
    share: of all cases."""

    make: Callable[[random.Random], Mapping[str, bytes]]
    read: Callable[[Path, random.Random], None]
    share: float


KINDS = {
    "images": Kind(images.make, images.read, 0.5),
    "zips": Kind(containers.make_zip, containers.read, 0.13),
    "tars": Kind(containers.make_tar, containers.read, 0.11),
    "npz": Kind(containers.make_npz, containers.read, 0.12),
    "tables": Kind(containers.make_table, containers.read, 0.14),
}


def try_case(kind: str, seed: int, number: int, folder: Path) -> str:
    """`read` or `refused`; raises whatever else comes of it."""
    rng = random.Random(f"{seed} {kind} {number}")
    for name, data in KINDS[kind].make(rng).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    try:
        KINDS[kind].read(folder, rng)
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError(f"a refusal of several lines: {error}") from error
        return "refused"
    return "read"


def serve(seed: int) -> None:
    """Read requests (kind, first, last) from stdin; write a line of JSON before and after each."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    # These take seconds on a busy machine, which no case shall pay.
    import imagecodecs  # noqa: F401
    import pi_heif  # noqa: F401
    import pydicom.pixels  # noqa: F401
    import tifffile  # noqa: F401

    faulthandler.enable()
    sys.addaudithook(_watch)
    for line in sys.stdin:
        kind, first, last = json.loads(line)
        for number in range(first, last):
            answers.write(json.dumps(["begun", kind, number]) + "\n")
            answers.write(json.dumps([*_watched(kind, seed, number), kind, number]) + "\n")
        answers.write(json.dumps(["done"]) + "\n")


def _watched(kind: str, seed: int, number: int) -> tuple[str, str]:
    before, begun = peak(), time.perf_counter()
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(SECONDS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome, why = try_case(kind, seed, number, Path(folder)), ""
    except BaseException as error:
        outcome, why = "failed", "".join(traceback.format_exception(error))
    finally:
        signal.alarm(0)
    if peak() - before > MEBIBYTES:
        return "failed", f"{peak() - before} MiB in {time.perf_counter() - begun:.1f} s"
    return outcome, why


def _stop(*_: object) -> None:
    raise TimeoutError(f"{SECONDS} s")


def _watch(event: str, _: object) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"executed: {event}")


class Pool:
    """Processes that try cases; one that dies or hangs is replaced, and its case failed."""

    def __init__(self, seed: int, todo: list[tuple[str, int, int]]) -> None:
        self.seed, self.todo, self.lock = seed, collections.deque(todo), threading.Lock()
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.failures: list[str] = []

    def run(self, workers: int) -> None:
        threads = [threading.Thread(target=self._feed) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _feed(self) -> None:
        while True:
            with self.lock:
                if not self.todo:
                    return
                kind, first, last = self.todo.popleft()
            while first < last:
                first = self._try(kind, first, last)

    def _try(self, kind: str, first: int, last: int) -> int:
        """Try cases in a fresh process; returns the first that is left."""
        command = [sys.executable, __file__, "--serve", "--seed", str(self.seed)]
        with (
            tempfile.TemporaryFile("w+") as said,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([kind, first, last]) + "\n")
            process.stdin.close()
            watch = threading.Timer(60 + (last - first) * SECONDS, process.kill)
            watch.start()
            number = first
            for line in process.stdout:
                told: list[Any] = json.loads(line)
                if told[0] == "begun":
                    number = told[2]
                elif told[0] != "done":
                    self._note(kind, told[3], told[0], told[1])
                    first = told[3] + 1
            watch.cancel()
            if first < last:
                process.wait()
                said.seek(0)
                last_words = (said.read().splitlines() or [""])[0]
                self._note(kind, number, "failed", f"the process died: {last_words}")
                first = number + 1
        return first

    def _note(self, kind: str, number: int, outcome: str, why: str) -> None:
        with self.lock:
            self.counts[kind, outcome] += 1
            if outcome == "failed":
                self.failures.append(f"{kind} {number}: {why.strip().splitlines()[-1][:200]}")
                print(self.failures[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--only", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.seed)
        return
    if asked.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(try_case(asked.kind or "images", asked.seed, asked.only, Path(folder)))
        return
    kinds = [asked.kind] if asked.kind else list(KINDS)
    total = sum(KINDS[kind].share for kind in kinds)
    todo = []
    for kind in kinds:
        count = round(asked.cases * KINDS[kind].share / total)
        todo += [(kind, at, min(at + _STEP, count)) for at in range(0, count, _STEP)]
    pool = Pool(asked.seed, todo)
    pool.run(asked.workers)
    for kind in kinds:
        told = {name: pool.counts[kind, name] for name in ("read", "refused", "failed")}
        print(json.dumps({"kind": kind, "cases": sum(told.values()), **told, "seed": asked.seed}))
    sys.exit(1 if pool.failures else 0)


if __name__ == "__main__":
    main()
