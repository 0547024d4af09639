"""From runs to rows: executed by whoever can, stored here, told in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from foldtune.analysis.row import Row
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.run import Run
from foldtune.study.results.store import Store

Say = Callable[[str], None]


class Executor(Protocol):
    """A function from independent runs to their rows, each given as soon as it is done.

    workers: how many runs go on at once. The runs of one call are all different, none is stored
    yet, and none needs another's row; rows may come in any order. A run's folder is
    `study / "runs" / run.key`. The caller alone writes the store.
    """

    @property
    def workers(self) -> int: ...

    def __call__(self, runs: Sequence[Run]) -> Iterator[Row]: ...


# Makes an executor for a bench and a study folder; the default is `InProcess`.
MakeExecutor = Callable[[Bench, Path], Executor]


class InProcess:
    """Executes one run after the other on the bench itself."""

    workers = 1

    def __init__(self, bench: Bench, study: Path) -> None:
        self.bench, self.study = bench, study

    def __call__(self, runs: Sequence[Run]) -> Iterator[Row]:
        for run in runs:
            yield self.bench.execute(run, self.study / "runs" / run.key)


class Ledger:
    """Every run's row: from the store, or executed and stored now."""

    def __init__(self, store: Store, execute: Executor, say: Say) -> None:
        self.store, self.execute, self.say = store, execute, say

    def rows(self, runs: Sequence[Run]) -> list[Row]:
        """The rows of `runs` in their order, whatever the order in which they were done."""
        known: dict[str, Row] = {}
        missing: dict[str, Run] = {}
        for run in runs:
            row = self.store.find(run.key)
            if row is None:
                missing[run.key] = run
            elif run.key not in known:
                known[run.key] = row
                self.say(f"{summarise(row)} (kept)")
        for row in self.execute(list(missing.values())) if missing else ():
            self.store.add(row)
            self.say(summarise(row))
            known[row["run"]] = row
        return [known[run.key] for run in runs]

    def renew(self, runs: Sequence[Run]) -> None:
        """Execute these runs though they are stored; each row takes the place of the old one."""
        for row in self.execute(runs):
            self.store.forget([row["run"]])
            self.store.add(row)
            self.say(summarise(row))


def summarise(row: Row) -> str:
    """One line about a finished run."""
    recipe = row["recipe"]
    where = f"lr {recipe['lr']:g}, decay {recipe['weight_decay']:g}"
    if recipe["epochs"] == 0:
        where = f"solved, C {row['probe']['C']:g}" if "probe" in row else "solved"
    if row["verdict"] != "finished":
        return f"{row['label']}: {row['method']}, {where}: {row['verdict']}"
    if row["stage"] == "final":
        return f"{row['label']}: {where}, seed {row['seed']}: test {row['test_accuracy']:.1%}"
    below = f", below its start ({row['val_start_accuracy']:.1%})" if row.get("below_start") else ""
    return f"{row['label']}: {where}: validation {row['val_accuracy']:.1%}{below}"
