"""The main job: tune every method alike on validation, test each once, merge the winner."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.analysis.leaderboard import chosen_trial, is_failed
from foldtune.analysis.row import Description, Row
from foldtune.backbones import Backbone
from foldtune.core.method import Method
from foldtune.methods.catalogue import parse, text_of
from foldtune.options.groups import (
    DataOptions,
    ExecutorOptions,
    HeadOptions,
    ModelOptions,
    SearchOptions,
    StudyOptions,
    TrainOptions,
)
from foldtune.options.taken import of, takes
from foldtune.study.bench.about import about_of, source_of, title_of
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import Ledger, MakeExecutor, Say
from foldtune.study.bench.room import refuse_full_study
from foldtune.study.bench.run import Run
from foldtune.study.conclusion import BEST, MERGED, Comparison, conclude
from foldtune.study.executors import choose
from foldtune.study.executors.usual import usual_executor
from foldtune.study.inputs import Data, Model, as_backbone, as_data, silent
from foldtune.study.mend import mend
from foldtune.study.results.pictures import (
    MEMBERSHIP,
    NAMES,
    keep_membership,
    keep_names,
)
from foldtune.study.results.rowgate import readable
from foldtune.study.results.store import Store
from foldtune.study.search.plan import Search
from foldtune.study.search.record import JOURNAL, Record, hide_password
from foldtune.study.search.searches import search_for
from foldtune.study.search.spaces import TRIALS, Entrant
from foldtune.study.terms.asked import Asked
from foldtune.study.terms.standing import own_methods, refuse_elsewhere, try_entrants
from foldtune.study.terms.terms import Terms, settle_terms
from foldtune.training.recipe import Recipe, recipe_of

OPTIONS = (
    SearchOptions, StudyOptions, HeadOptions, TrainOptions, ModelOptions, DataOptions,
    ExecutorOptions,
)  # fmt: skip


@takes(*OPTIONS)
def compare(
    data: Data,
    model: Model = "micro",
    methods: Sequence[str | Method | type[Method]] = (),
    *,
    out: str | Path = Path("study"),
    recipe: Recipe | None = None,
    executor: str | MakeExecutor | None = None,
    say: Say | None = None,
    command: str | None = None,
    **options: Any,
) -> Comparison:
    """Tune each method with `trials` configurations, train on the train split, judge on validation
    at the last epoch; retrain each method's best on train and validation with `seeds` seeds; read
    the test split once for each of these; merge the winner.

    methods: names (own settings searched too) or spelled methods (settings kept); or classes and
    instances of them, of the caller's own too (`foldtune.methods.register`); by default seven. out:
    the study's folder; a second call with more methods, trials or seeds reuses every finished run.
    recipe: all of how to train, in place of the options about that. executor: by name, or what
    makes an executor (see `foldtune.study.executors`); all that is asked at once is one batch of
    independent runs, all finals another, and nothing depends on the order in which rows come back.
    halving may be a `Halving`, and protocol a `Protocol`. say: is told one line per run. command:
    what a reader of the page may call again. task: what labels say (`MultiLabel`, `Ordinal`,
    `Regression`), by default what they look like, or one of the protocol's tasks, by default
    recognised in the data's name. imbalance: where several are named, the search tries them.

    Every method is attached dry before the first run: one that was named and cannot stand is
    refused, one of the defaults is left out. A run that raises is a failed row with its reason, and
    the study goes on. The winner is chosen on validation; the test split selects nothing. Raises
    InputError for bad input before anything is trained.
    """
    names = [text_of(method) for method in methods or ()]
    asked, say = Asked.of(names, recipe, options), say or silent
    running, study = of(ExecutorOptions, options), of(StudyOptions, options)
    backbone = as_backbone(model, of(ModelOptions, options))
    search_seed = asked.searching.search_seed
    terms = settle_terms(
        asked, source_of(data), backbone, study.seed if search_seed is None else search_seed
    )
    bench = _bench(data, backbone, terms, study, asked.reading(options), say)
    terms = try_entrants(terms, bench, named=bool(names))
    if executor is None and running == ExecutorOptions():
        executor = usual_executor(bench, terms.runs(), own=bool(own_methods(terms)))
    if callable(executor):
        made: AbstractContextManager[MakeExecutor] = nullcontext(executor)
    else:
        made = choose(executor, **{k: v for k, v in vars(running).items() if k != "executor"})
    place = asked.searching.storage or Path(out) / JOURNAL
    with made as maker:
        return _study(terms, bench, Path(out), place, maker, study.retry_failed, say, command)


def _study(
    terms: Terms,
    bench: Bench,
    folder: Path,
    place: str | Path,
    executor: MakeExecutor,
    retry_failed: bool,
    say: Say,
    command: str | None,
) -> Comparison:
    """Run what is not done yet, and conclude."""
    contests = [_Contest(e, base, search_for(e, base, terms.plan)) for e, base in terms.entrants]
    about: Description = {**about_of(bench), **terms.description()}
    about |= {"storage": hide_password(place), "command": command}
    for note in terms.notes():
        say(note)
    with Store(folder) as store:
        execute = executor(bench, folder)
        refuse_elsewhere(terms, execute.workers)
        about["workers"] = execute.workers
        store.refuse_other(about)
        readable(store.rows(), folder)  # a stranger's may hold what nothing below expects
        trials = terms.plan.trials or TRIALS
        refuse_full_study(
            folder, bench.backbone.model, bench.data, terms.trained, trials, terms.seeds
        )
        images = bench.data
        keep_names(folder, images)
        if isinstance(images.keys, np.ndarray):  # of a stream they are known once it was trained on
            keep_membership(folder, images)
        store.write_description(about, (NAMES, MEMBERSHIP))
        if retry_failed:
            store.forget({row["run"] for row in store.rows() if is_failed(row)})
        ledger = Ledger(store, execute, say)
        mend(store, bench, ledger, say)
        record = Record(place, title_of(bench))
        _tune(contests, bench, ledger, record, terms)
        ledger.rows(_finals(contests, store.rows(), bench, terms, say))
        keep_membership(folder, images)
        found = conclude(folder, bench, terms, say)
        written = (MEMBERSHIP, *((MERGED,) if found.merged else ()))
        written += (BEST,) if found.tuning else ()
        store.write_description(about, written, complete=True)
    return found


def _bench(
    data: Data, backbone: Backbone, terms: Terms, study: StudyOptions, reading: DataOptions,
    say: Say,
) -> Bench:  # fmt: skip
    """The backbone and the data, brought in as the protocol says where one is followed."""
    if terms.protocol is not None:
        backbone = terms.protocol.with_transform(backbone)
    images = as_data(data, backbone, study.seed, reading, say)
    if terms.protocol is not None:
        terms.protocol.check_reading(images)
    return Bench(backbone, images, study.device, study.select)


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
        method, settled = parse(best["method"]), recipe_of(best["recipe"])
        finals += [
            bench.describe("final", method, settled, s, label=label, head=best["head_start"])
            for s in fresh
        ]
    return finals
