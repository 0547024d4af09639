"""The main job: tune every method alike on validation, test each once, merge the winner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldtune.analysis.ranking import chosen_trial, leaderboard, winner
from foldtune.errors import InputError
from foldtune.methods.catalogue import parse
from foldtune.study.bench import TUNING, Bench
from foldtune.study.execute import InProcess, Ledger, MakeExecutor
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
    executor: MakeExecutor = InProcess,
    say: Callable[[str], None] | None = None,
    command: str | None = None,
) -> Comparison:
    """Tune each method with `trials` configurations, train on the train split, judge on validation
    at the last epoch; retrain each method's best on train and validation with `seeds` seeds; read
    the test split once for each of these; merge the winner.

    methods: names (own settings searched too) or spelled methods (settings kept). out: the study
    folder; a second call with more methods, trials or seeds reuses every finished run. head: where
    classifiers start, see `Run`. executor: makes what executes runs, by default one after the other
    in this process; all methods' trials are one batch of independent runs, all finals another, and
    nothing depends on the order in which rows come back. say: is told one line per run.

    The winner is chosen on validation; the test split selects nothing. Raises InputError for bad
    input before anything is trained.
    """
    entrants = [Entrant.named(text) for text in methods]
    _refuse_doubles(entrants)
    base = recipe or default_recipe()
    backbone = as_backbone(model)
    bench = Bench(backbone, as_data(data, backbone, seed), device)
    say = say or (lambda _line: None)
    folder = Path(out)
    with Store(folder) as store:
        store.write_description(_description(bench, methods, trials, seeds, base, command))
        ledger = Ledger(store, executor(bench, folder), say)
        asked = [
            [
                bench.describe("trial", m, r, seed, label=entrant.label, head=head, trial=number)
                for number, (m, r) in enumerate(candidates(entrant, base, trials, seed))
            ]
            for entrant in entrants
        ]
        tried = ledger.rows([run for runs in asked for run in runs])
        finals: list[Run] = []
        for entrant, runs in zip(entrants, asked, strict=True):
            own, tried = tried[: len(runs)], tried[len(runs) :]
            best = chosen_trial(own)
            if best is None:
                say(f"{entrant.label}: every trial diverged, nothing to test")
                continue
            method, settled = parse(best["method"]), Recipe(**best["recipe"])
            finals += [
                bench.describe("final", method, settled, s, label=entrant.label, head=head)
                for s in range(seed, seed + seeds)
            ]
        ledger.rows(finals)
    return _conclude(folder, bench)


def _conclude(folder: Path, bench: Bench) -> Comparison:
    rows = tuple(Store(folder).rows())
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
        merged = folder / MERGED
        tuning = folder / "runs" / final["run"] / TUNING
        certificate = merge_tuning(tuning, merged, bench.backbone, bench.data)
    label = merging[0]["label"] if merging else None
    return Comparison(folder, rows, board, best, merged, label, certificate)


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


def _refuse_doubles(entrants: Sequence[Entrant]) -> None:
    if not entrants:
        raise InputError("no methods to compare; name some, e.g. --methods SSF LoRA")
    labels = [e.label for e in entrants]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"{label} is named twice; name each method once")
