"""How a study stands, read from its folder alone: by its driver, or by anybody beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.analysis.row import Row
from foldtune.errors import InputError
from foldtune.study.results.lock import holder
from foldtune.study.results.rowgate import countable
from foldtune.study.results.store import Store
from foldtune.training.curve import epochs_trained

_CHECKPOINT = "checkpoint.safetensors"
_HEADER = gate.fields(
    {
        "curve": gate.list_of(gate.fields({"epoch": gate.integer(0, 10**6)})),
        "identity": gate.fields({"recipe": gate.fields({"epochs": gate.integer(0, 10**6)})}),
        "seconds": gate.number(0),
    }
)


@dataclass
class Progress:
    """What is done of one method.

    trials, finals: asked for; None where it is not known. best: last epoch's validation accuracy of
    its best trial. images_per_second: in training, of its last run.
    """

    label: str
    trials_done: int = 0
    trials: int | None = None
    finals_done: int = 0
    finals: int | None = None
    diverged: int = 0
    failed: int = 0
    best: float | None = None
    images_per_second: float | None = None


@dataclass(frozen=True)
class UnderWay:
    """A run that has begun and is not done: how many of its epochs its checkpoint has."""

    run: str
    epoch: int
    epochs: int
    seconds: float
    images_per_second: float | None


@dataclass(frozen=True)
class Status:
    """A study's state. owner: the process that writes it, None where none does; planned: runs
    asked for, None where that is not known; seconds_left: at the pace so far, None before the
    first run is done; go_on: the command that continues it, None where it is complete."""

    study: str
    owner: Mapping[str, Any] | None
    done: int
    planned: int | None
    seconds: float
    seconds_left: float | None
    methods: list[Progress]
    under_way: list[UnderWay]
    go_on: str | None

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"running": self.owner is not None, **asdict(self)}


@dataclass
class Tally:
    """Counts over a study's rows; rows counted before are not read again."""

    folder: Path
    progress: dict[str, Progress] = field(default_factory=dict)
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _trials: dict[str, set[Any]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def status(self) -> Status:
        """The state now. Raises InputError where the folder holds no study."""
        store = Store(self.folder)
        asked = store.description()
        store.read_seal()  # raises where rows were lost
        if not asked and not len(store):
            raise InputError(
                f"{self.folder} holds no study; give the folder that `foldtune compare --out` wrote"
            )
        if len(store) < len(self._seen):  # failed rows were taken out, to be run again
            for counted in (self.progress, self.seconds, self._trials, self._seen):
                counted.clear()
        for run in store.runs():
            if run not in self._seen:
                self._seen.add(run)
                if (row := store.find(run)) is not None:
                    self._count(countable(row, self.folder))
        for label in asked.get("methods", ()):
            entry = self._entry(label)
            entry.trials, entry.finals = asked.get("trials"), asked.get("seeds")
            if entry.best is None and entry.trials and entry.trials_done >= entry.trials:
                entry.finals = entry.finals_done  # every trial failed or diverged: nothing to test
        owner = holder(self.folder)
        under_way = list(_under_way(self.folder, self._seen))
        planned, left = self._remaining()
        done = sum(p.trials_done + p.finals_done for p in self.progress.values())
        spent = sum(run.seconds for run in under_way) if owner else 0.0
        # Short runs leave no checkpoint, so those under way may be more than are seen.
        at_once = max(1, len(under_way), asked.get("workers") or 1) if owner else 1
        complete = planned is not None and done >= planned
        return Status(
            str(self.folder), owner, done, planned,
            sum(sum(values) for values in self.seconds.values()),
            None if left is None else max(0.0, left - spent) / at_once,
            list(self.progress.values()), under_way,
            None if complete else asked.get("command"),
        )  # fmt: skip

    def _entry(self, label: str) -> Progress:
        return self.progress.setdefault(label, Progress(label))

    def _count(self, row: Row) -> None:
        entry = self._entry(row["label"])
        final = row["stage"] == "final"
        if final:
            entry.finals_done += 1
        else:
            # A trial that is prolonged has several rows under one number.
            tried = self._trials.setdefault(row["label"], set())
            number = row.get("trial")
            tried.add(row["run"] if number is None else number)
            entry.trials_done = len(tried)
        entry.diverged += str(row["verdict"]).startswith("diverged")
        entry.failed += str(row["verdict"]).startswith("failed")
        accuracy = None if final else row.get("val_accuracy")
        entry.best = max((v for v in (entry.best, accuracy) if v is not None), default=None)
        entry.images_per_second = _pace(row.get("curve") or ()) or entry.images_per_second
        stage = "final" if final else "trial"
        self.seconds.setdefault((row["label"], stage), []).append(float(row.get("seconds") or 0.0))

    def _remaining(self) -> tuple[int | None, float | None]:
        """Runs asked for, and the seconds of work that those not done will take."""
        planned, left = 0, 0.0
        known = bool(self.seconds)
        for entry in self.progress.values():
            if entry.trials is None or entry.finals is None:
                return None, None
            planned += entry.trials + entry.finals
            missing = {
                "trial": entry.trials - entry.trials_done,
                "final": entry.finals - entry.finals_done,
            }
            left += sum(max(0, n) * self._cost(entry.label, s) for s, n in missing.items())
        return planned, left if known else None

    def _cost(self, label: str, stage: str) -> float:
        """Seconds of a run of a method at a stage: its own mean, else the nearest that is known."""
        own = self.seconds.get((label, stage)) or self.seconds.get((label, "trial"))
        others = [v for (_, s), values in self.seconds.items() if s == stage for v in values]
        every = [v for values in self.seconds.values() for v in values]
        known = own or others or every
        return statistics.fmean(known) if known else 0.0


def status(folder: str | Path) -> Status:
    """How the study in a folder stands. Raises InputError where there is none."""
    return Tally(Path(folder)).status()


def _under_way(folder: Path, done: set[str]) -> Iterable[UnderWay]:
    """What checkpoints say of runs that are not stored; a run's first comes after ten seconds."""
    for path in sorted((folder / "runs").glob(f"*/{_CHECKPOINT}")):
        header = None if path.parent.name in done else checkpoint_header(path)
        if header is not None:
            curve = header["curve"]
            epochs = header["identity"]["recipe"]["epochs"]
            own = epochs_trained(curve)
            yield UnderWay(path.parent.name, own, epochs, header["seconds"], _pace(curve))


def checkpoint_header(path: Path) -> dict[str, Any] | None:
    """The header of a checkpoint, read without torch; None where it is gone or not whole."""
    try:
        with path.open("rb") as file:
            length = min(int.from_bytes(file.read(8), "little"), gate.LARGEST)
            metadata = gate.parse(file.read(length), path)["__metadata__"]
        header: dict[str, Any] = gate.check_value(
            gate.parse(metadata["foldtune.checkpoint"], path), _HEADER, path
        )
        return header
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pace(curve: Iterable[Mapping[str, Any]]) -> float | None:
    paces = [point["images_per_second"] for point in curve if point.get("images_per_second")]
    return statistics.fmean(paces) if paces else None
