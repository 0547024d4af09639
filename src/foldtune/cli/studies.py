"""Verbs about a study of methods: compare, demo, report, status."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foldtune.cli.app import (
    DATA,
    EXECUTOR,
    HEAD,
    JSON,
    MODEL,
    MODEL_NAME,
    TRAIN,
    DataOptions,
    ExecutorOptions,
    HeadOptions,
    ModelOptions,
    TrainOptions,
    app,
)
from foldtune.cli.places import FOLDER_OUT, PAGE_OUT, SEED, STUDY_OUT
from foldtune.console import emit, facts, say, show, table, write
from foldtune.errors import NotInstalled

if TYPE_CHECKING:
    from foldtune.backbones import Backbone
    from foldtune.data import ImageData
    from foldtune.study.conclusion import Comparison
    from foldtune.study.protocols import Protocol


@Parameter(name="*")
@dataclass(frozen=True)
class SearchOptions:
    """How configurations are searched and winners tested, alike for every method."""

    search: str | None = None  #: sobol, grid, tpe or random; sobol by default.
    trials: int | None = None  #: Configurations of each method; 4 by default, or the whole grid.
    halving: tuple[int, int] | None = None  #: Rungs and factor: 3 3 keeps a third twice.
    ties: str | None = None  #: small, loss, lr or last; small by default.
    seeds: int | None = None  #: Final runs of each method's best; 3 by default.
    protocol: str | None = None  #: A preset of `foldtune protocols`.
    approximate: bool = False  #: Run a protocol without what cannot be done here.
    search_seed: SEED | None = None  #: Of the search alone, to repeat it on the same splits.
    start_from: str | None = None  #: published: first what the unifying study chose.
    folds: int | None = None  #: As many studies, each image tested in one of them.
    #: The metric that chooses: accuracy, balanced_accuracy, macro_f1, kappa, auroc, map, mae, ...
    select: str | None = None
    storage: str | None = None  #: Optuna's: a database URL or a file; by default in OUT.

    def rules(
        self, data: str, backbone: Backbone, training: TrainOptions, task: str | None = None
    ) -> Protocol | None:
        """The protocol for the data, with the training options that differ from the defaults."""
        from dataclasses import replace

        from foldtune.study.protocols import protocol, settled

        if self.protocol is None:
            return None
        found = settled(protocol(self.protocol), data, backbone, task)
        changes = {k: v for k, v in vars(training).items() if v != getattr(TRAIN, k)}
        if "imbalance" in changes:
            changes["imbalance"] = training.imbalance[0]
        if found.facts["recipe"].get("precision") == "fp16" and not _half_precision():
            changes["precision"] = "fp32"
        return replace(found, changes=changes)


SEARCH = SearchOptions()
# val_accuracy is the last epoch's, which decides; the best epoch's is there to be seen.
_BOARD = (
    *("label", "val_accuracy", "val_best_accuracy", "val_best_epoch", "test_accuracy", "low"),
    *("high", "against", "seeds", "trials", "epochs", "trainable"),
)


@app.command
def compare(
    data: str,
    *,
    out: STUDY_OUT,
    model: MODEL_NAME = "micro",
    methods: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    seed: SEED = 0,
    device: str | None = None,
    retry_failed: Annotated[bool, Parameter(negative="")] = False,
    starting: HeadOptions = HEAD,
    searching: SearchOptions = SEARCH,
    options: ModelOptions = MODEL,
    reading: DataOptions = DATA,
    training: TrainOptions = TRAIN,
    running: ExecutorOptions = EXECUTOR,
    json: JSON = False,
) -> None:
    """Tune every method with the same budget on DATA's validation split, test each one's best,
    merge the winner, and write a report. Call it again with more methods or trials: finished
    runs are kept.

    retry_failed: run what failed in an earlier call again.
    """
    from foldtune.report.verdict import verdict
    from foldtune.report.words import of_metric
    from foldtune.study.compare import compare as run
    from foldtune.study.results.live import live
    from foldtune.training.recipe import Recipe
    from foldtune.tunings.judging import tested_lines

    backbone = options.load(model)
    reading, task = reading.parted()
    rules = searching.rules(data, backbone, training, task)
    if rules is not None:
        backbone = rules.transformed(backbone)
    images = reading.load(data, backbone, seed)
    asked = vars(searching) | {"protocol": rules, "task": task, "imbalance": training.remedies}
    folds = asked.pop("folds")
    asked |= {
        "head": starting.start(), "seed": seed, "device": device, "retry_failed": retry_failed,
        "recipe": None if rules else Recipe(**training.changes()),
        "command": shlex.join(["foldtune", *sys.argv[1:]]),
    }  # fmt: skip
    with running.make() as executor, live(out):
        asked |= {"executor": executor, "say": say}
        if folds is not None:
            _folded(images, backbone, methods, out, folds, asked, json)
            return
        found = run(images, backbone, methods or None, out=out, **asked)
    for line in tested_lines(found.rows):
        say(line)
    report = _report(out)
    metric = found.leaderboard[0]["metric"] if found.leaderboard else ""
    said = of_metric(verdict(found.leaderboard, found.decision, len(images.splits["val"])), metric)
    told = {
        "winner": found.winner and found.winner["label"],
        "report": report and str(report),
        "merged": found.merged and str(found.merged),
        "merged_method": found.merged_label,
        "certificate": found.certificate and str(found.certificate),
    }
    if json:
        decision = found.decision and found.decision.told()
        more = {"verdict": said, "leaderboard": list(found.leaderboard), "decision": decision}
        more |= {"left_out": dict(found.left_out), "ledger": images.facts["ledger"]}
        emit(told | more)
    else:
        _show(found, said, told)
    if found.winner is None:
        say("no trial of any method finished; the report says why")
        raise SystemExit(1)


def _folded(
    images: ImageData, backbone: Backbone, methods: Sequence[str], out: Path, folds: int,
    asked: dict[str, Any], json: bool,
) -> None:  # fmt: skip
    """A study a fold, each with its page, and what all test images together tell."""
    from foldtune.cli.tables import tell
    from foldtune.study.folds import compare_folds

    found = compare_folds(images, backbone, methods or None, folds=folds, out=out, **asked)
    for fold in found.folds:
        _report(fold.folder)
    chosen = ", ".join(name or "none" for name in found.winners)
    tell({"decision": found.decision.told(), "winners": list(found.winners),
          "verdict": [f"Chosen in each fold: {chosen}.", found.said]}, json)  # fmt: skip


def _show(found: Comparison, said: Sequence[str], told: dict[str, Any]) -> None:
    from foldtune.report.shortfalls import warning

    warned = [{**entry, "warning": warning(entry)} for entry in found.leaderboard]
    table(warned, [*_BOARD, *["warning"] * any(entry["warning"] for entry in warned)])
    for line in said:
        write(line)
    facts(told | {f"without {label}": reason for label, reason in found.left_out.items()})


def _report(study: Path) -> Path | None:
    """The page of a study; where what draws it is not installed, how to have it afterwards."""
    from foldtune.report.page import write_report

    try:
        return write_report(study)
    except NotInstalled as error:
        say(f"{error}; then foldtune report {study}")
        return None


@app.command
def demo(
    *, out: STUDY_OUT = Path("foldtune-demo"), data: str = "digits", json: JSON = False
) -> None:
    """Compare seven methods on embedded images with the embedded backbone; needs no network.

    Few images and epochs, but the whole budget of trials and seeds: less would tell nothing.
    """
    compare(
        data, out=out, options=ModelOptions(size=32), reading=DataOptions(shots=24),
        training=TrainOptions(epochs=4), json=json,
    )  # fmt: skip


@app.command
def report(
    study: Path,
    *,
    out: PAGE_OUT | None = None,
    charts: FOLDER_OUT | None = None,
    wise: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = (),
    shifts: Annotated[tuple[Path, ...], Parameter(name="--shift", consume_multiple=True)] = (),
    cache: Path | None = None,
    json: JSON = False,
) -> None:
    """Write the report of a STUDY folder again, from its rows and logits.

    charts: a folder for every chart as SVG, PNG, PDF and CSV. wise, shift: files with what wise and
    eval --shift printed with --json; those in STUDY/wise and STUDY/shift are found without. cache:
    the folder of decoded images, where it is not the user's.
    """
    from foldtune.report.page import write_report

    path = write_report(study, out=out, charts=charts, wise=wise, shifts=shifts, cache=cache)
    if not json:
        write(str(path))
        return
    emit({"report": str(path), "bytes": path.stat().st_size, "charts": charts and str(charts)})


@app.command
def status(study: Path, *, json: JSON = False) -> None:
    """Show how a STUDY folder stands: what is done, what is left, how long, how to go on."""
    from foldtune.console import duration
    from foldtune.study.results.live import drawn
    from foldtune.study.results.status import status as read

    found = read(study)
    if json:
        emit(found.told())
        return
    show(drawn(found))
    if found.owner is not None:
        named = ", ".join(f"{name} {value}" for name, value in found.owner.items())
        write(f"running: {named}")
    elif found.go_on is not None:
        write(f"not running after {duration(found.seconds)} of work; go on with: {found.go_on}")
    else:
        write(f"complete after {duration(found.seconds)} of work")


def _half_precision() -> bool:
    """Whether a device computes in fp16: a CPU only emulates it."""
    import torch

    return torch.accelerator.is_available()
