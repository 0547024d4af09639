"""Verbs about a study of methods: compare, demo, report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foldtune.cli.app import (
    DATA,
    HEAD,
    JSON,
    MODEL,
    TRAIN,
    DataOptions,
    HeadOptions,
    ModelOptions,
    TrainOptions,
    app,
)
from foldtune.console import emit, facts, say, table


@app.command
def compare(
    data: str,
    *,
    out: Path,
    model: str = "micro",
    methods: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    trials: int = 4,
    seeds: int = 3,
    seed: int = 0,
    device: str | None = None,
    starting: HeadOptions = HEAD,
    options: ModelOptions = MODEL,
    reading: DataOptions = DATA,
    training: TrainOptions = TRAIN,
    json: JSON = False,
) -> None:
    """Tune every method with the same budget on DATA's validation split, test each one's best,
    merge the winner, and write a report. Call it again with more methods or trials: finished
    runs are kept.
    """
    from foldtune.report.page import write_report
    from foldtune.study.compare import compare as run
    from foldtune.study.settings import METHODS
    from foldtune.training.recipe import Recipe

    backbone = options.load(model)
    images = reading.load(data, backbone, seed)
    found = run(
        images, backbone, methods or METHODS, out=out, trials=trials, seeds=seeds,
        recipe=Recipe(**training.changes()), head=starting.start(), seed=seed,
        device=device, say=say, command=shlex.join(["foldtune", *sys.argv[1:]]),
    )  # fmt: skip
    report = write_report(out)
    told = {
        "winner": found.winner and found.winner["label"],
        "report": str(report),
        "merged": found.merged and str(found.merged),
        "merged_method": found.merged_label,
        "certificate": found.certificate and str(found.certificate),
    }
    if json:
        emit(told | {"leaderboard": list(found.leaderboard)})
        return
    columns = ("label", "val_accuracy", "test_accuracy", "low", "high", "seeds", "trainable")
    table(found.leaderboard, columns)
    facts(told)


@app.command
def demo(*, out: Path = Path("foldtune-demo"), data: str = "digits", json: JSON = False) -> None:
    """Compare seven methods on embedded images with the embedded backbone; needs no network."""
    compare(
        data, out=out, trials=2, seeds=1, options=ModelOptions(size=32),
        reading=DataOptions(shots=32), training=TrainOptions(epochs=6), json=json,
    )  # fmt: skip


@app.command
def report(study: Path) -> None:
    """Write the report of a STUDY folder again, from its rows."""
    from foldtune.report.page import write_report

    print(write_report(study))
