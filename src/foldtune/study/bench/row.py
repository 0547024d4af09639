"""The row of a run: put together here, whatever came of the run and whoever executed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from foldtune.analysis.row import Row, Solved, Tested, Validated
from foldtune.core.attachment import Attachment
from foldtune.study.bench.run import Run
from foldtune.training.curve import Entry
from foldtune.training.loop import Outcome


class Facts(TypedDict):
    """What every row of a bench says of it."""

    backbone: str
    pretrained: bool
    data: str
    classes: int


def outcome_row(
    run: Run,
    bench: Facts,
    attachment: Attachment,
    outcome: Outcome,
    *,
    seconds: float,
    probe: Solved | None = None,
    tested: Tested | None = None,
    stacked: int | None = None,
) -> Row:
    """The row of a run that was trained, to its end or until it diverged.

    probe: how its classifier was solved, where it starts there; tested: what the test split gave;
    stacked: how many trials were trained together with it.
    """
    row: Row = {
        **run.row_fields(),
        **bench,
        "verdict": outcome.verdict,
        "trainable": attachment.trainable,
        "head": attachment.head_size,
        "total": sum(p.numel() for p in attachment.model.parameters()),
        "mergeable": attachment.mergeable,
        "curve": list(outcome.curve),
    }
    if probe is not None:
        row["probe"] = probe
    if outcome.finished:
        row.update(validation_figures(outcome.curve))
    if tested is not None:
        row.update(tested)
    if stacked is not None:
        row["stacked"] = stacked
    row["seconds"] = seconds
    return row


def failed_row(run: Run, reason: str, seconds: float = 0.0) -> Row:
    """The row of a run that came to nothing, with the keys that every row has."""
    return {
        **run.row_fields(),
        "trainable": None,
        "head": None,
        "total": None,
        "mergeable": None,
        "verdict": f"failed: {reason}",
        "curve": [],
        "seconds": seconds,
    }


def validation_figures(curve: Sequence[Entry]) -> Validated:
    """What a row tells of validation, from the curve of a whole training; nothing where it was not
    watched.

    The best epoch is one that was trained: epoch 0 is the start, told beside it, and all that a
    run without epochs has.
    """
    watched = [point for point in curve if "val_accuracy" in point]
    if not watched:
        return {}
    start, trained = watched[0], watched[1:] or watched
    best, last = max(trained, key=lambda point: point["val_accuracy"]), trained[-1]
    return {
        "val_accuracy": last["val_accuracy"],
        "val_best_accuracy": best["val_accuracy"],
        "val_best_epoch": best["epoch"],
        "val_loss": last["val_loss"],
        "val_start_accuracy": start["val_accuracy"],
        "below_start": last["val_accuracy"] < start["val_accuracy"],
    }
