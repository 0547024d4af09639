"""The main job: tune every method alike on validation, test each once, merge the winner."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldtune.analysis.ranking import chosen_trial, leaderboard, winner
from foldtune.errors import InputError
from foldtune.methods.catalogue import parse
from foldtune.study.bench import TUNING, Bench
from foldtune.study.inputs import Data, Model, as_backbone, as_data
from foldtune.study.run import Run
from foldtune.study.search import Entrant, candidates
from foldtune.study.settings import METHODS, default_recipe
from foldtune.study.store import Store
from foldtune.study.tunings import Certificate, merge_tuning
from foldtune.training.recipe import Recipe

MERGED = "merged.safetensors"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. rows: every run; leaderboard: one entry a method, best test first;
    winner: chosen on validation; merged: the plain state dict of the best method that merges."""

    folder: Path
    rows: tuple[dict[str, Any], ...]
    leaderboard: tuple[dict[str, Any], ...]
    winner: dict[str, Any] | None
    merged: Path | None
    merged_label: str | None
    certificate: Certificate | None


def compare(
    data: Data,
    model: Model = "micro",
    methods: Sequence[str] = METHODS,
    *,
    out: str | Path,
    trials: int = 4,
    seeds: int = 3,
    recipe: Recipe | None = None,
    head: str = "probe",
    seed: int = 0,
    device: str | None = None,
    say: Callable[[str], None] | None = None,
    command: str | None = None,
) -> Comparison:
    """Tune each method with `trials` configurations, train on the train split, judge on validation
    at the last epoch; retrain each method's best on train and validation with `seeds` seeds; read
    the test split once for each of these; merge the winner.

    methods: names (own settings searched too) or spelled methods (settings kept). out: the study
    folder; a second call with more methods, trials or seeds reuses every finished run. head: where
    classifiers start, see `Run`. say: is told one line per run.

    The winner is chosen on validation; the test split selects nothing. Raises InputError for bad
    input before anything is trained.
    """
    entrants = [Entrant.named(text) for text in methods]
    _refuse_doubles(entrants)
    base = recipe or default_recipe()
    backbone = as_backbone(model)
    bench = Bench(backbone, as_data(data, backbone, seed), device)
    say = say or (lambda _line: None)
    study = _Study(Path(out), bench, say)
    with study.store:
        study.store.write_description(_description(bench, methods, trials, seeds, base, command))
        for entrant in entrants:
            tried = [
                study.finished(bench.describe("trial", m, r, seed, label=entrant.label, head=head))
                for m, r in candidates(entrant, base, trials, seed)
            ]
            best = chosen_trial(tried)
            if best is None:
                say(f"{entrant.label}: every trial diverged, nothing to test")
                continue
            method, settled = parse(best["method"]), Recipe(**best["recipe"])
            for s in range(seed, seed + seeds):
                study.finished(
                    bench.describe("final", method, settled, s, label=entrant.label, head=head)
                )
    return _conclude(study, bench)


@dataclass
class _Study:
    folder: Path
    bench: Bench
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.store = Store(self.folder)

    def finished(self, run: Run) -> dict[str, Any]:
        """The run's row: from the store, or computed and stored now."""
        row = self.store.find(run.key)
        if row is not None:
            self.say(f"{_told(row)} (kept)")
            return row
        label = f"{run.label} {run.stage}" if sys.stderr.isatty() else None
        row = self.bench.execute(run, self.folder / "runs" / run.key, progress=label)
        self.store.add(row)
        self.say(_told(row))
        return row


def _conclude(study: _Study, bench: Bench) -> Comparison:
    rows = tuple(Store(study.folder).rows())
    board = tuple(leaderboard(rows))
    best = winner(rows)
    merging = [e for e in board if e["mergeable"] and e["seeds"] and e["val_accuracy"] is not None]
    merging.sort(key=lambda e: (-e["val_accuracy"], e["trainable"], e["label"]))
    merged = certificate = None
    if merging:
        final = next(
            r for r in rows
            if r["stage"] == "final" and r["method"] == merging[0]["method"]
            and r["recipe"] == merging[0]["recipe"] and r["verdict"] == "finished"
        )  # fmt: skip
        merged = study.folder / MERGED
        tuning = study.folder / "runs" / final["run"] / TUNING
        certificate = merge_tuning(tuning, merged, bench.backbone, bench.data)
    label = merging[0]["label"] if merging else None
    return Comparison(study.folder, rows, board, best, merged, label, certificate)


def _description(
    bench: Bench, methods: Sequence[str], trials: int, seeds: int, base: Recipe, command: str | None
) -> dict[str, Any]:
    import foldtune

    return {
        "backbone": bench.backbone.name,
        "backbone_hash": bench.backbone_hash,
        "pretrained": bench.backbone.pretrained,
        "data": bench.data.name,
        "data_identity": bench.data.identity,
        "images": {name: len(rows) for name, rows in bench.data.splits.items()},
        "methods": list(methods),
        "trials": trials,
        "seeds": seeds,
        "epochs": base.epochs,
        "command": command,
        "version": foldtune.__version__,
    }


def _told(row: dict[str, Any]) -> str:
    recipe = row["recipe"]
    where = f"lr {recipe['lr']:g}, decay {recipe['weight_decay']:g}"
    if row["verdict"] != "finished":
        return f"{row['label']}: {row['method']}, {where}: {row['verdict']}"
    if row["stage"] == "trial":
        return f"{row['label']}: {where}: validation {row['val_accuracy']:.1%}"
    return f"{row['label']}: {where}, seed {row['seed']}: test {row['test_accuracy']:.1%}"


def _refuse_doubles(entrants: Sequence[Entrant]) -> None:
    if not entrants:
        raise InputError("no methods to compare; name some, e.g. --methods SSF LoRA")
    labels = [e.label for e in entrants]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"{label} is named twice; name each method once")
