"""What a worker does with a run, on whatever machine it is."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foldtune.analysis.row import Row
from foldtune.errors import InputError
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.run import Run
from foldtune.study.executors.place import Place
from foldtune.study.results.rowfile import replace
from foldtune.torchvision_ops import declare_missing_operators

# Before a task arrives: a backbone of one's own may import timm itself, as it could at the driver.
declare_missing_operators()


@dataclass(frozen=True)
class Task:
    """What a worker is told once.

    study: the study's folder. token: what `runs/.shared` holds there, so that a worker knows
    whether it sees the driver's folder. threads: of torch in each run.
    """

    place: Place
    study: Path
    token: str
    threads: int


@dataclass(frozen=True)
class Done:
    """A run's row, and its files where the worker does not see the study's folder."""

    row: Row
    files: Mapping[str, bytes] = field(default_factory=dict)


def share(study: Path) -> str:
    """Leave a token in the study's folder and return it."""
    token = secrets.token_hex(8)
    (study / "runs").mkdir(parents=True, exist_ok=True)
    replace(study / "runs" / ".shared", token.encode())
    return token


class Worker:
    """A bench of its own, rebuilt where it is, and runs on it one after the other."""

    def __init__(self, task: Task, device: str | None = None) -> None:
        import torch

        torch.set_num_threads(task.threads)
        self.bench = task.place.bench(device)
        self.study = task.study if _sees(task.study, task.token) else None

    def run(self, run: Run) -> Done:
        """The run, its files in the study's folder or, where that is not seen, in the answer.

        Raises InputError for a run of another backbone, other data or other splits.
        """
        _check(run, self.bench)
        if self.study is not None:
            return Done(self.bench.execute(run, self.study / "runs" / run.key))
        with tempfile.TemporaryDirectory(prefix="foldtune-") as name:
            row = self.bench.execute(run, Path(name))
            return Done(row, {path.name: path.read_bytes() for path in Path(name).iterdir()})


def keep(done: Done, study: Path) -> Row:
    """Write the files that came with the row, then give the row."""
    for name, content in done.files.items():
        folder = study / "runs" / str(done.row["run"])
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / name, content)
    return done.row


def _sees(study: Path, token: str) -> bool:
    try:
        return (study / "runs" / ".shared").read_text() == token
    except OSError:
        return False


def _check(run: Run, bench: Bench) -> None:
    here: dict[str, tuple[Any, Any]] = {
        "backbone": (run.backbone, bench.backbone_hash),
        "data": (run.data, bench.data.identity),
        "splits": (run.splits, bench.data.facts["split_hash"]),
    }
    for name, (wanted, found) in here.items():
        if wanted != found:
            raise InputError(
                f"run {run.key} is of {name} {wanted}, and this worker has {name} {found}; "
                "start the study again with one backbone and one data set"
            )
