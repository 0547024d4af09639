"""Stop a small study again and again, go on each time, and compare with one left alone.

    python benchmarks/kills.py [--kills 200] [--ray 20] [--seed 0] [--folder DIR] [--only MODE ...]

Every process is forked from a parent that has imported everything and loaded the backbone, so a
start costs milliseconds. The modes come in turn: SIGKILL from outside at a random moment (`clock`);
in one of the calls that write, sync or rename, a random part of its bytes done (`write`); at a
random byte of any file, artefacts that safetensors writes too (`artefact`); a disk that is full at
a random byte (`full`); a wall clock that jumps by up to 400 days, and a kill (`jumps`); a second
driver on the same folder, and a kill (`drivers`); the cache of decoded images, or one image,
deleted while the study is started or at work, and a kill (`cache`, `image`). Half of the starts
write a checkpoint after each epoch. When a study is complete the next begins in a new folder. --ray
kills workers of a Ray cluster on this machine instead, in studies of their own (`ray`).

Prints one JSON line. lost: runs whose row was stored and is not there; twice: runs begun although
their row was stored; changed: stored rows whose bytes are others later; unbound: files that are
missing or are not those that a stored row was bound to by hash, looked at after each stop;
different: complete studies whose rows (but for times), leaderboard, merged model or tunings are not
those of the undisturbed one, or of which `foldtune check` finds a file altered; odd: processes that
ended neither by a kill nor with a refusal that the mode explains, such as of a full disk; left:
half-written files that a refusal left. All must be 0; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _interrupts as interrupts
import torch
from _killed import ENDED, KILLED, REFUSED, Log, differences, fork, result, study
from _lines import Lines, add_results
from _ray_kills import kill_workers

from foldtune.study.check import check

MODES = ("clock", "write", "artefact", "full", "jumps", "drivers", "cache", "image")
FAULTS = ("lost", "twice", "changed", "unbound", "different", "odd", "left")
# In which modes a study may say in a line that it cannot go on.
_MAY_REFUSE = ("full", "drivers", "cache", "image")
_OF_A_STUDY = 2  # workers killed: a run that ends its worker three times is rightly given up
_LARGEST, _LEAST = 1 << 20, 1 << 9  # bytes at which a file is stopped


def main() -> None:
    """Stop, go on, compare, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--ray", type=int, default=0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=None)
    options.add_argument("--only", nargs="*", choices=MODES, default=MODES)
    add_results(options)
    asked = options.parse_args()
    torch.set_num_threads(1)  # and so no thread pool that a fork would leave behind
    with tempfile.TemporaryDirectory() as name:
        trial = _Trial(asked.folder or Path(name), random.Random(asked.seed), asked.only)
        told = trial.run(asked.kills, asked.ray)
    faults = sum(told[name] for name in FAULTS)
    Lines("kills", asked).tell(
        "runs lost, repeated or changed, or their files", faults, "", "= 0", **told
    )
    if faults:
        sys.exit(1)


class _Trial:
    """stops: how often a study was stopped, by mode."""

    def __init__(self, root: Path, draw: random.Random, modes: tuple[str, ...]) -> None:
        self.root, self.draw, self.modes = root, draw, modes
        self.faults, self.stops = dict.fromkeys(FAULTS, 0), dict.fromkeys(modes, 0)
        self.study = study(root)
        self.log = Log(root / "none", self.faults)

    def run(self, kills: int, of_ray: int) -> dict[str, Any]:
        started = time.perf_counter()
        calls = self.root / "calls"
        begun = time.perf_counter()
        alone = self.root / "alone"
        self.log = Log(alone, self.faults)
        assert self.ended(lambda: interrupts.count_calls(calls)) == ENDED
        self.whole, self.calls = time.perf_counter() - begun, calls.stat().st_size
        wanted, complete = result(alone), 0
        while sum(self.stops.values()) < kills:
            self.log = Log(self.root / f"study{complete}", self.faults)
            while not self.attempt(kills):
                self.log.check()
            complete += 1
            self.judge(wanted)
        if of_ray:
            complete += self.ray(of_ray, wanted)
        return {
            "kills": sum(self.stops.values()), **self.stops, **self.faults, "studies": complete,
            "runs_of_a_study": len(wanted["rows"]), "undisturbed_seconds": round(self.whole, 1),
            "seconds": round(time.perf_counter() - started, 1),
        }  # fmt: skip

    def attempt(self, kills: int) -> bool:
        """Start or go on with a study; whether it came to its end."""
        if sum(self.stops.values()) >= kills:
            return self.ended(interrupts.nothing) == ENDED
        mode = min(self.modes, key=self.stops.__getitem__)
        before = self.parts()
        end = getattr(self, f"_{mode}")()
        if end == REFUSED:
            self.faults["left"] += len(self.parts() - before)
        self.faults["odd"] += end not in (ENDED, KILLED, *[REFUSED] * (mode in _MAY_REFUSE))
        self.stops[mode] += end != ENDED
        if sum(self.stops.values()) % 10 == 0:
            print(f"{self.stops} {self.faults}", file=sys.stderr, flush=True)
        return end == ENDED

    def ended(self, prepare: Callable[[], None], **how: Any) -> int:
        return _end(self.start(prepare, **how))

    def start(self, prepare: Callable[[], None], **how: Any) -> int:
        return fork(self.study, self.log, prepare, self.draw.random() < 0.5, **how)

    def killed(self, child: int) -> int:
        """Kill at a random moment of a third of a study."""
        time.sleep(self.draw.uniform(0, self.whole / 3))
        os.kill(child, signal.SIGKILL)
        return _end(child)

    def parts(self) -> set[Path]:
        return set(self.root.rglob("*.part"))

    def judge(self, wanted: dict[str, Any]) -> None:
        """Look at a complete study; one that differs is kept, and how is printed."""
        self.log.check()
        folder = self.log.folder
        found, sound = result(folder), check(folder).sound
        if found == wanted and sound:
            shutil.rmtree(folder)
            return
        self.faults["different"] += 1
        print(f"{folder}: {differences(found, wanted)}, sound {sound}", file=sys.stderr, flush=True)

    def _clock(self) -> int:
        return self.killed(self.start(interrupts.nothing))

    def _write(self) -> int:
        at, part = self.draw.randint(1, self.calls // 3), self.draw.random()
        return self.ended(partial(interrupts.die_in_a_write, at, part))

    def _artefact(self) -> int:
        return self.ended(partial(interrupts.die_at_a_size, self.size()))

    def _full(self) -> int:
        if self.draw.random() < 0.5:
            return self.ended(partial(interrupts.fill_at_a_size, self.size()))
        at, part = self.draw.randint(1, self.calls // 3), self.draw.random()
        return self.ended(partial(interrupts.fill_at_a_write, at, part))

    def size(self) -> int:
        return round(_LEAST * (_LARGEST / _LEAST) ** self.draw.random())

    def _jumps(self) -> int:
        return self.killed(self.start(partial(interrupts.jump, self.draw.randrange(1 << 30))))

    def _drivers(self) -> int:
        """Two at once: the second is refused, or takes over as the first is killed."""
        first, second = self.start(interrupts.nothing), self.start(interrupts.nothing)
        ends = [self.killed(first), self.killed(second)]
        return max(ends) if ENDED not in ends else ENDED

    def _cache(self) -> int:
        child = self.start(interrupts.nothing, load=True)
        time.sleep(self.draw.uniform(0, self.whole / 6))
        shutil.rmtree(self.study.cache, ignore_errors=True)
        return self.killed(child)

    def _image(self) -> int:
        """A child that loads the images anew; one of these goes, and comes back afterwards."""
        image = self.draw.choice(sorted(self.study.images.rglob("*.png")))
        kept = image.read_bytes()
        shutil.rmtree(self.study.cache, ignore_errors=True)  # else none is read
        child = self.start(interrupts.nothing, load=True)
        time.sleep(self.draw.uniform(0, self.whole / 6))
        image.unlink()
        end = self.killed(child)
        image.write_bytes(kept)
        return end

    def ray(self, kills: int, wanted: dict[str, Any]) -> int:
        """Studies on Ray until so many of their workers were killed; how many studies."""
        self.stops["ray"] = complete = 0
        while self.stops["ray"] < kills:
            self.log = Log(self.root / f"ray{complete}", self.faults)
            child = self.start(interrupts.nothing, ray=True)
            ends: list[int] = []
            self.stops["ray"] += kill_workers(
                child, min(_OF_A_STUDY, kills - self.stops["ray"]), self.draw, self.log.stored,
                partial(_has_ended, child, ends),
            )  # fmt: skip
            self.faults["odd"] += (ends[0] if ends else _end(child)) != ENDED
            complete += 1
            print(f"{self.stops} {self.faults}", file=sys.stderr, flush=True)
            self.judge(wanted)
        return complete


def _end(child: int) -> int:
    return _told(os.waitpid(child, 0)[1])


def _has_ended(child: int, ends: list[int]) -> bool:
    if not ends:
        process, status = os.waitpid(child, os.WNOHANG)
        ends += [_told(status)] * (process == child)
    return bool(ends)


def _told(status: int) -> int:
    return KILLED if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
