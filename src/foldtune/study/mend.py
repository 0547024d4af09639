"""Runs whose files are no longer those that their row was stored with: named, and run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from foldtune.analysis.row import Row
from foldtune.errors import InputError
from foldtune.methods.catalogue import parse
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import Ledger
from foldtune.study.bench.run import Run
from foldtune.study.results.artefacts import Artefact, of_rows, set_aside, unbound_line
from foldtune.study.results.rowgate import countable
from foldtune.study.results.store import Store
from foldtune.training.recipe import recipe_of

Say = Callable[[str], None]


def mend(store: Store, bench: Bench, ledger: Ledger, say: Say) -> None:
    """Run again whatever finished run has lost a file, or has another in its place, which is set
    aside. A run that this bench cannot repeat is forgotten, so that no figure rests on it."""
    rows = [countable(row, store.folder) for row in store.rows()]
    if (line := unbound_line(rows)) is not None:
        say(f"{line}; in a new folder every run is bound")
    lost = broken_rows(store.folder, rows)
    again: list[Run] = []
    for row in lost.values():
        run = _run_of(row, bench)
        if run is None:
            say(f"{row['label']}: run {row['run']} is of another setting and left out")
            store.forget([row["run"]])
        else:
            again.append(run)
    for path in _altered_paths(of_rows(store.folder, lost.values())):
        say(f"{path} is not the file that was stored: set aside as {set_aside(path).name}")
    if again:
        say(f"{len(again)} runs are computed again, whose files were altered or lost")
        ledger.renew(again)


def broken_rows(study: Path, rows: Iterable[Row]) -> dict[str, Row]:
    """By run the rows any of whose files is altered or missing."""
    found = of_rows(study, rows)
    return {row["run"]: row for row, file in found if file.state in ("altered", "missing")}


def _altered_paths(found: Iterable[tuple[Row, Artefact]]) -> list[Path]:
    return [artefact.path for _, artefact in found if artefact.state == "altered"]


def _run_of(row: Row, bench: Bench) -> Run | None:
    """The run that the row is of; None where it is of another backbone, other data or an earlier
    revision."""
    for train_on in (("train",), ("train", "val")):
        try:
            run = bench.describe(
                row["stage"], parse(row["method"]), recipe_of(row["recipe"]), row["seed"],
                label=row["label"], head=row["head_start"], trial=row.get("trial"),
                train_on=train_on,
            )  # fmt: skip
        except (InputError, TypeError, KeyError):  # a method or an option that is no more
            return None
        if run.key == row["run"]:
            return run
    return None
