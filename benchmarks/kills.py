"""Kill a small study again and again, go on each time, and compare with one left alone.

    python benchmarks/kills.py [--kills 200] [--seed 0] [--folder DIR]

Every process is forked from a parent that has imported everything and loaded backbone and data, so
a start costs milliseconds. Half of the kills come at a random moment, SIGKILL from outside; half
in the middle of a write: at a random one of the calls that write, sync or rename, after a random
part of the bytes. Half of the starts write a checkpoint after each epoch, the others by the clock,
as studies do. When a study is complete the next begins in a new folder.

Prints one JSON line. lost: runs whose row was stored and is not there; twice: runs begun although
their row was stored; changed: stored rows whose bytes are others later; unbound: files that are
missing or are not those that a stored row was bound to by hash, looked at after each kill;
different: complete studies whose rows (but for times), leaderboard, merged model or tunings are not
those of the undisturbed one, or of which `foldtune check` finds a file altered. All five must be 0;
else the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna  # noqa: F401  (imported here once, not in every process)
import torch
from _lines import Lines, add_results

from foldtune.analysis.leaderboard import leaderboard
from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.study.bench.bench import Bench
from foldtune.study.check import check
from foldtune.study.compare import compare
from foldtune.study.mend import broken
from foldtune.study.results.store import Store
from foldtune.training.recipe import Recipe

METHODS = ("LinearProbe", "BitFit")
RECIPE = Recipe(epochs=2, warmup_epochs=0.2, batch_size=32, lr=3e-3)
_CLOCK = {"seconds", "images_per_second"}
_write, _fsync, _replace = os.write, os.fsync, os.replace
_add, _execute = Store.add, Bench.execute


def main() -> None:
    """Kill, go on, compare, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=None)
    add_results(options)
    asked = options.parse_args()
    torch.set_num_threads(1)  # and so no thread pool that a fork would leave behind
    with tempfile.TemporaryDirectory() as name:
        told = _Trial(asked.folder or Path(name), random.Random(asked.seed)).run(asked.kills)
    faults = sum(told[name] for name in ("lost", "twice", "changed", "unbound", "different"))
    Lines("kills", asked).tell(
        "runs lost, repeated or changed, or their files", faults, "", "= 0", **told
    )
    if faults:
        sys.exit(1)


@dataclass
class _Trial:
    root: Path
    draw: random.Random
    counts: dict[str, int] = field(default_factory=dict)
    seen: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backbone = load_backbone("micro", size=16)
        self.data = load_data("digits", size=16, cache=self.root / "cache").few_shot(2)
        self.counts = dict.fromkeys(
            ("by_clock", "in_a_write", "lost", "twice", "changed", "unbound"), 0
        )

    def run(self, kills: int) -> dict[str, Any]:
        started = time.perf_counter()
        alone, log = self.root / "alone", self.root / "calls"
        begun = time.perf_counter()
        assert self.finish(alone, lambda: _count_calls(log))
        whole, calls = time.perf_counter() - begun, log.stat().st_size
        wanted, different, complete = _result(alone), 0, 0
        while self.killed < kills:
            folder = self.root / f"study{complete}"
            self.seen.clear()
            while not self.attempt(folder, whole / 3, calls // 3, self.killed < kills):
                self.check(folder)
                if self.killed % 10 == 0:
                    print(f"{self.killed} kills, {self.counts}", file=sys.stderr, flush=True)
            self.check(folder)
            complete += 1
            different += _result(folder) != wanted or not check(folder).sound
        return {
            "kills": self.killed, **self.counts, "different": different, "studies": complete,
            "runs_of_a_study": len(wanted["rows"]), "undisturbed_seconds": round(whole, 1),
            "seconds": round(time.perf_counter() - started, 1),
        }  # fmt: skip

    @property
    def killed(self) -> int:
        return self.counts["by_clock"] + self.counts["in_a_write"]

    def attempt(self, folder: Path, longest: float, calls: int, kill: bool) -> bool:
        """Start or go on with a study; whether it came to its end."""
        if not kill:
            return self.finish(folder, _nothing)
        if self.draw.random() < 0.5:
            at, part = self.draw.randint(1, calls), self.draw.random()
            ended = self.finish(folder, lambda: _die_in_a_write(at, part))
            self.counts["in_a_write"] += not ended
            return ended
        child = self.fork(folder, _nothing)
        time.sleep(self.draw.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        ended = _ended(child)
        self.counts["by_clock"] += not ended
        return ended

    def finish(self, folder: Path, prepare: Callable[[], None]) -> bool:
        return _ended(self.fork(folder, prepare))

    def fork(self, folder: Path, prepare: Callable[[], None]) -> int:
        pace = self.draw.choice((0.0, Bench.checkpoint_seconds))
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            _log(folder)
            Bench.checkpoint_seconds = pace
            prepare()
            compare(
                self.data, self.backbone, METHODS, out=folder, trials=2, seeds=1, recipe=RECIPE,
                head="zero",
            )  # fmt: skip
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)

    def check(self, folder: Path) -> None:
        """Compare the log of what was done with what is stored."""
        log = folder.with_suffix(".log")
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        store, stored = Store(folder), set()
        twice = set()
        for line in lines:
            what, run = line.split()
            if what == "stored":
                stored.add(run)
            elif run in stored:
                twice.add(run)
        self.counts["lost"] += sum(run not in store for run in stored)
        self.counts["twice"] += len(twice)
        self.counts["unbound"] += len(broken(folder, store.rows()))
        for row in store.rows():
            content = json.dumps(row).encode()
            self.counts["changed"] += self.seen.setdefault(row["run"], content) != content


def _ended(child: int) -> bool:
    """Whether the process came to its end; one that failed otherwise than by a kill is a fault."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        raise SystemExit("a study failed; see above")
    return True


def _log(folder: Path) -> None:
    """Have the process note each run that it begins, and each whose row it has stored."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def execute(bench: Bench, run: Any, *more: Any, **named: Any) -> dict:
        _write(log, f"begun {run.key}\n".encode())
        return _execute(bench, run, *more, **named)

    def add(store: Store, row: dict[str, Any]) -> None:
        _add(store, row)
        _write(log, f"stored {row['run']}\n".encode())

    Bench.execute, Store.add = execute, add  # type: ignore[method-assign]


def _nothing() -> None:
    return None


def _count_calls(path: Path) -> None:
    """Note one byte for each call that `_die_in_a_write` could die in."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    _hook(lambda: bool(_write(log, b".")) and False, 0.0)


def _die_in_a_write(at: int, part: float) -> None:
    left = [at]

    def due() -> bool:
        left[0] -= 1
        return left[0] == 0

    _hook(due, part)


def _hook(due: Callable[[], bool], part: float) -> None:
    """Have the calls that change files end the process where one is due: before, amid or after."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(file: int, data: bytes) -> int:
        if due():
            _write(file, data[: round(part * len(data))])
            die()
        return _write(file, data)

    def around(call: Callable[..., None]) -> Callable[..., None]:
        def called(*arguments: Any, **named: Any) -> None:
            if not due():
                return call(*arguments, **named)
            if part > 0.5:
                call(*arguments, **named)
            return die()

        return called

    os.write, os.fsync, os.replace = write, around(_fsync), around(_replace)  # type: ignore


def _result(folder: Path) -> dict[str, Any]:
    """All that a study found, but for what the clock decides."""
    rows = Store(folder).rows()
    files = {folder / "merged.safetensors", *folder.glob("runs/*/*.safetensors")}
    return {
        "rows": {row["run"]: _timeless(row) for row in rows},
        "leaderboard": _timeless(leaderboard(rows)),
        "files": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    }


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _CLOCK}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
