"""Verbs about a study of methods: compare, report, status."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from foldtune.cli.app import DATA, FULL, JSON, MAIN, MODEL_NAME, app, words
from foldtune.cli.places import FOLDER_OUT, PAGE_OUT, STUDY_OUT
from foldtune.cli.shown.boards import show_comparison
from foldtune.cli.shown.tables import show_decision
from foldtune.console import emit, say, show, write
from foldtune.errors import NotInstalled
from foldtune.options.groups import (
    DataOptions,
    ExecutorOptions,
    HeadOptions,
    ModelOptions,
    SearchOptions,
    StudyOptions,
    TrainOptions,
)
from foldtune.options.taken import non_defaults
from foldtune.startup import import_hosts

if TYPE_CHECKING:
    from foldtune.data import ImageData
    from foldtune.study.conclusion import Comparison

_OF_METHODS = (
    'Names, whose settings are searched, or spelled methods, "LoRA(rank=8)", whose settings are '
    "kept; by default LinearProbe BitFit LayerNorm SSF LoRA AdaptFormer Full."
)
_OF_OUT = "The study's folder; one there is gone on with."
_OF_FOLDS = "As many studies, each in a folder of OUT; every image is tested in one of them."
_OF_REPEATS = "As many draws of the split, each a study in a folder of OUT; or of all --folds."
STUDY = Annotated[Path, words("A study's folder, as compare writes it.", group=MAIN)]


@app.command
def compare(
    data: DATA,
    *,
    out: Annotated[STUDY_OUT, words(_OF_OUT, group=MAIN)] = Path("study"),
    model: MODEL_NAME = "micro",
    methods: Annotated[tuple[str, ...], words(_OF_METHODS, group=MAIN)] = (),
    folds: Annotated[int | None, words(_OF_FOLDS)] = None,
    repeats: Annotated[int | None, words(_OF_REPEATS)] = None,
    full: FULL = False,
    searching: SearchOptions = SearchOptions(),
    study: StudyOptions = StudyOptions(),
    training: TrainOptions = TrainOptions(),
    starting: HeadOptions = HeadOptions(),
    options: ModelOptions = ModelOptions(),
    reading: DataOptions = DataOptions(),
    running: ExecutorOptions = ExecutorOptions(),
    json: JSON = False,
) -> None:
    """Tune every method with the same budget on DATA's validation split, test each one's best,
    merge the winner, and write a report. Call it again with more methods or trials: finished
    runs are kept.
    """
    from foldtune.options.names import check_method, check_model

    check_model(model)
    for name in methods:
        check_method(name)
    asked = non_defaults(searching, study, training, starting, options, reading, running)
    if folds is not None or repeats is not None:
        _compare_splits(
            data, model, methods, out, asked | {"folds": folds, "repeats": repeats}, json
        )
        return
    found = compare_with_table(data, model, methods, out, asked)
    tell_comparison(found, full, json)
    if found.winner is None:
        say("no trial of any method finished; the report says why")
        raise SystemExit(1)


def compare_with_table(
    data: str | ImageData, model: str, methods: tuple[str, ...], out: Path, asked: dict[str, Any]
) -> Comparison:
    """Run the study, with its table on a terminal while it goes on."""
    import_hosts()
    from foldtune.study.compare import compare as run
    from foldtune.study.results.live import live
    from foldtune.tunings.judging import tested_lines

    command = shlex.join(["foldtune", *sys.argv[1:]])
    with live(out):
        found = run(data, model, methods, out=out, say=say, command=command, **asked)
    for line in tested_lines(found.rows):
        say(line)
    return found


def _compare_splits(
    data: str, model: str, methods: tuple[str, ...], out: Path, asked: dict[str, Any], json: bool
) -> None:  # fmt: skip
    """A study a split, each with its page, and what all test images together tell."""
    import_hosts()
    from foldtune.study.folds import compare_folds
    from foldtune.study.results.live import live

    command = shlex.join(["foldtune", *sys.argv[1:]])
    with live(out):
        found = compare_folds(data, model, methods, out=out, say=say, command=command, **asked)
    for fold in found.folds:
        _report(fold.folder)
    chosen = ", ".join(name or "none" for name in found.winners)
    told = {
        "decision": found.decision.as_json(),
        "winners": list(found.winners),
        "scores": found.scores,
        "verdict": [f"Chosen in each split: {chosen}.", found.said],
    }
    emit(told) if json else show_decision(told, full=True)


def tell_comparison(found: Comparison, full: bool, json: bool) -> None:
    from foldtune.report.verdict import verdict
    from foldtune.report.words import of_metric

    report = _report(found.folder)
    if not json:
        show_comparison(found, report, full)
        return
    told = {
        "winner": found.winner and found.winner["label"],
        "report": report and str(report),
        "merged": found.merged and str(found.merged),
        "merged_method": found.merged_label,
        "certificate": found.certificate and str(found.certificate),
        "verdict": of_metric(
            verdict(found.leaderboard, found.decision, found.validation), found.metric
        ),
        "leaderboard": list(found.leaderboard),
        "decision": found.decision and found.decision.as_json(),
        "left_out": dict(found.left_out),
        "ledger": found.ledger,
    }
    emit(told)


def _report(study: Path) -> Path | None:
    """The page of a study; where what draws it is not installed, how to have it afterwards."""
    from foldtune.report.page import write_report

    try:
        return write_report(study)
    except NotInstalled as error:
        say(f"{error}; then foldtune report {study}")
        return None


@app.command
def report(
    study: STUDY,
    *,
    out: Annotated[PAGE_OUT | None, words("Where the page goes; by default in the study.")] = None,
    charts: Annotated[
        FOLDER_OUT | None, words("A folder for every chart as SVG, PNG, PDF and CSV.")
    ] = None,
    wise: Annotated[
        tuple[Path, ...],
        words("Files with what wise printed with --json; those in STUDY/wise are found without."),
    ] = (),
    shifts: Annotated[
        tuple[Path, ...],
        words(
            "Files with what eval --shift printed with --json; those in STUDY/shift are found "
            "without.",
            name="--shift",
        ),
    ] = (),
    cache: Annotated[
        Path | None, words("Folder of decoded images; by default the user's cache.")
    ] = None,
    json: JSON = False,
) -> None:
    """Write the report of a STUDY folder again, from its rows and logits."""
    from foldtune.report.page import write_report

    path = write_report(study, out=out, charts=charts, wise=wise, shifts=shifts, cache=cache)
    if not json:
        write(str(path))
        return
    emit({"report": str(path), "bytes": path.stat().st_size, "charts": charts and str(charts)})


@app.command
def status(study: STUDY, *, json: JSON = False) -> None:
    """Show how a STUDY folder stands: what is done, what is left, how long, how to go on."""
    from foldtune.console import duration
    from foldtune.study.results.live import draw_table
    from foldtune.study.results.status import status as read

    found = read(study)
    if json:
        emit(found.as_json())
        return
    show(draw_table(found))
    if found.owner is not None:
        named = ", ".join(f"{name} {value}" for name, value in found.owner.items())
        write(f"running: {named}")
    elif found.go_on is not None:
        write(f"not running after {duration(found.seconds)} of work; go on with: {found.go_on}")
    else:
        write(f"complete after {duration(found.seconds)} of work")
