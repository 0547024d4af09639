"""The main job: tune every method alike on validation, test each once, merge the winner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foldtune.analysis.leaderboard import chosen_trial, failed
from foldtune.analysis.row import Description, Row
from foldtune.backbones import Backbone
from foldtune.data import ImageData
from foldtune.methods.catalogue import parse
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import InProcess, Ledger, MakeExecutor, Say
from foldtune.study.bench.room import refuse_full_study
from foldtune.study.bench.run import Run
from foldtune.study.conclusion import MERGED, Comparison, conclude
from foldtune.study.inputs import Data, Model, as_backbone, as_data
from foldtune.study.mend import mend
from foldtune.study.protocols import Protocol
from foldtune.study.results.pictures import (
    MEMBERSHIP,
    NAMES,
    clusters,
    keep_membership,
    keep_names,
    whereabouts,
)
from foldtune.study.results.rowgate import readable
from foldtune.study.results.store import Store
from foldtune.study.search.halving import Halving
from foldtune.study.search.plan import Search
from foldtune.study.search.record import JOURNAL, Record, shown
from foldtune.study.search.searches import search_for
from foldtune.study.search.spaces import TRIALS, Entrant
from foldtune.study.standing import tried
from foldtune.study.terms import Asked, Terms, agreed
from foldtune.tasks.parsing import is_task
from foldtune.training.recipe import Recipe


def compare(
    data: Data,
    model: Model = "micro",
    methods: Sequence[str] | None = None,
    *,
    out: str | Path,
    trials: int | None = None,
    seeds: int | None = None,
    recipe: Recipe | None = None,
    head: str | None = None,
    seed: int = 0,
    search_seed: int | None = None,
    search: str | None = None,
    halving: Halving | tuple[int, int] | None = None,
    ties: str | None = None,
    storage: str | Path | None = None,
    protocol: str | Protocol | None = None,
    task: str | None = None,
    start_from: str | None = None,
    approximate: bool = False,
    retry_failed: bool = False,
    device: str | None = None,
    executor: MakeExecutor = InProcess,
    select: str | None = None,
    imbalance: Sequence[str] = (),
    say: Say | None = None,
    command: str | None = None,
) -> Comparison:
    """Tune each method with `trials` configurations, train on the train split, judge on validation
    at the last epoch; retrain each method's best on train and validation with `seeds` seeds; read
    the test split once for each of these; merge the winner.

    methods: names (own settings searched too) or spelled methods (settings kept). out: the study
    folder; a second call with more methods, trials or seeds reuses every finished run. head: where
    classifiers start, see `Run`; by default where each method has them start. seed: of drawn splits
    and of all else; search_seed: of the search and its runs alone, to repeat it on the same splits
    in another folder (see `repeated`). search: sobol, grid, tpe or random, see `planned` and
    `Proposed`; halving: rungs and factor, see `Halving`; ties: see `foldtune.analysis.selection`.
    storage: of Optuna, where every trial is recorded too: a database's URL or a file, by default
    `optuna.journal` in the study. protocol: one of `foldtune protocols`, which then decides what is
    not said here; task: what labels say (`MultiLabel`, `Ordinal`, `Regression`), by default what
    they look like, or one of the protocol's tasks, by default recognised in the data's name;
    approximate: run it without what cannot be done here. start_from: "published" tries first what
    the unifying study chose for the task. retry_failed: run again what failed in an earlier call.
    executor: makes what executes runs, by default one after the other in this process; all that is
    asked at once is one batch of independent runs, all finals another, and nothing depends on the
    order in which rows come back. select: the metric that chooses, by default the task's first (see
    `foldtune.tasks.task`): accuracy for one class an image. imbalance: remedies for classes of
    unlike size that the search is to try (`training/optim/objective.py`). say: is told one line per
    run.

    Every method is attached dry before the first run: one that was named and cannot stand is
    refused, one of the defaults is left out. A run that raises is a failed row with its reason, and
    the study goes on. The winner is chosen on validation; the test split selects nothing. Raises
    InputError for bad input before anything is trained.
    """
    labels, task = (task, None) if task and is_task(task) else (None, task)
    asked = Asked(
        search, trials, seeds, halving, ties, head, protocol, task, start_from, approximate,
        tuple(imbalance),
    )  # fmt: skip
    backbone = as_backbone(model)
    source = str(data.facts.get("source", data.name) if isinstance(data, ImageData) else data)
    started = seed if search_seed is None else search_seed
    terms = agreed(methods, asked, recipe, source, backbone, started)
    bench = _bench(data, backbone, terms, seed, device, select, labels)
    terms = tried(terms, bench, named=bool(methods))
    contests = [_Contest(e, base, search_for(e, base, terms.plan)) for e, base in terms.entrants]
    folder, place = Path(out), storage or Path(out) / JOURNAL
    about: Description = {**_about(bench), **terms.description()}
    about |= {"storage": shown(place), "command": command}
    say = say or (lambda _line: None)
    for note in terms.notes():
        say(note)
    with Store(folder) as store:
        execute = executor(bench, folder)
        about["workers"] = execute.workers
        store.refuse_other(about)
        readable(store.rows(), folder)  # a stranger's may hold what nothing below expects
        trials = terms.plan.trials or TRIALS
        refuse_full_study(folder, backbone.model, bench.data, terms.trained, trials, terms.seeds)
        images = bench.data
        keep_names(folder, images)
        if isinstance(images.keys, np.ndarray):  # of a stream they are known once it was trained on
            keep_membership(folder, images)
        store.write_description(about, (NAMES, MEMBERSHIP))
        if retry_failed:
            store.forget({row["run"] for row in store.rows() if failed(row)})
        ledger = Ledger(store, execute, say)
        mend(store, bench, ledger, say)
        record = Record(place, _title(bench))
        _tune(contests, bench, ledger, record, terms)
        ledger.rows(_finals(contests, store.rows(), bench, terms, say))
        keep_membership(folder, images)
        found = conclude(folder, bench, terms, say)
        written = (MEMBERSHIP, *((MERGED,) if found.merged else ()))
        store.write_description(about, written, complete=True)
    return found


def _bench(
    data: Data, backbone: Backbone, terms: Terms, seed: int, device: str | None,
    select: str | None, labels: str | None,
) -> Bench:  # fmt: skip
    """The backbone and the data, brought in as the protocol says where one is followed."""
    if terms.protocol is None:
        return Bench(backbone, as_data(data, backbone, seed, labels), device, select)
    backbone = terms.protocol.transformed(backbone)
    images = as_data(data, backbone, seed, labels)
    terms.protocol.check_reading(images)
    return Bench(backbone, images, device, select)


@dataclass
class _Contest:
    """One method's search."""

    entrant: Entrant
    base: Recipe
    search: Search


def _tune(
    contests: Sequence[_Contest], bench: Bench, ledger: Ledger, record: Record, terms: Terms
) -> None:
    """Ask every search, run what all of them ask as one batch, tell them, until none asks."""
    while True:
        asked = [(contest, contest.search.ask()) for contest in contests]
        runs = [
            bench.describe(
                trial.stage, trial.method, trial.recipe, terms.plan.seed,
                label=contest.entrant.label, head=terms.start(trial.method), trial=trial.number,
            )
            for contest, trials in asked for trial in trials
        ]  # fmt: skip
        if not runs:
            return
        rows = ledger.rows(runs)
        for contest, trials in asked:
            own, rows = rows[: len(trials)], rows[len(trials) :]
            if trials:
                contest.search.tell(own)
                record.add(contest.entrant, contest.base, trials, own)


def _finals(
    contests: Sequence[_Contest], rows: Sequence[Row], bench: Bench, terms: Terms, say: Say
) -> list[Run]:
    """The chosen configuration of each method, with seeds that no trial had.

    Chosen among all trials that the study has of it, those of earlier calls too, as the leaderboard
    does: else a better trial of a call that was cut short would stand there untested.
    """
    finals: list[Run] = []
    # The chosen trial won with its own seed's luck, so no final run may have that seed again.
    tuned = {row["seed"] for row in rows if row["stage"] != "final"} | {terms.plan.seed}
    fresh = [s for s in range(terms.plan.seed, terms.plan.seed + terms.seeds + len(tuned))
             if s not in tuned][: terms.seeds]  # fmt: skip
    for contest in contests:
        label = contest.entrant.label
        tried = [row for row in rows if row["label"] == label and row["stage"] == "trial"]
        best = chosen_trial(tried, terms.plan.ties)
        if best is None:
            say(f"{label}: every trial diverged or failed, nothing to test")
            continue
        method, settled = parse(best["method"]), Recipe(**best["recipe"])
        finals += [
            bench.describe("final", method, settled, s, label=label, head=best["head_start"])
            for s in fresh
        ]
    return finals


def _about(bench: Bench) -> Description:
    import foldtune

    return {
        "backbone": bench.backbone.name,
        "backbone_hash": bench.backbone_hash,
        "pretrained": bench.backbone.pretrained,
        "data": bench.data.name,
        "data_identity": bench.data.identity,
        "images": {name: len(rows) for name, rows in bench.data.splits.items()},
        **whereabouts(bench.data),
        **_judged_by(bench),
        "data_warnings": list(bench.data.facts["warnings"]),
        "conflicts": bench.data.facts["conflicts"],
        "ledger": bench.data.facts.get("ledger", {}),
        "alike": clusters(bench.data),
        "version": foldtune.__version__,
    }


def _judged_by(bench: Bench) -> Description:
    """The task and the metric where they are not one class an image and accuracy."""
    found: Description = {}
    if not bench.data.task.usual:
        found["task"] = repr(bench.data.task)
    if bench.metric:
        found["metric"] = bench.metric
    return found


def _title(bench: Bench) -> str:
    """What names this study's part of a storage that others share."""
    data, backbone = bench.data, bench.backbone
    return (
        f"{data.name} {data.identity[:8]} {data.facts['split_hash'][:8]} "
        f"{backbone.name} {bench.backbone_hash[:8]}"
    )
