"""The end of a comparison: what its rows say, and the winner merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foldtune.analysis.decision import Decision
from foldtune.analysis.leaderboard import by_validation, configuration
from foldtune.analysis.row import Row, Standing
from foldtune.errors import InputError, Unwritable
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import Say
from foldtune.study.results.artefacts import TUNING, of_run
from foldtune.study.results.predictions import judged_board
from foldtune.study.results.store import Store
from foldtune.study.terms import Terms
from foldtune.tunings.tuning import Certificate, merge_tuning

MERGED = "merged.safetensors"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. rows: every run; leaderboard: one entry a method, best test first;
    decision: what the test images tell apart; winner: chosen on validation, None where no trial
    finished; left_out: defaults that cannot stand on this host, and why; merged: the plain state
    dict of the best method that merges."""

    folder: Path
    rows: tuple[Row, ...]
    leaderboard: tuple[Standing, ...]
    decision: Decision | None
    winner: Standing | None
    merged: Path | None
    merged_label: str | None
    certificate: Certificate | None
    left_out: Mapping[str, str]


def conclude(folder: Path, bench: Bench, terms: Terms, say: Say) -> Comparison:
    """Judge the study's rows and merge the best method that merges."""
    rows = tuple(Store(folder).rows())
    board, decision = judged_board(folder)
    best = next((entry for entry in board if entry["winner"]), None)
    merging = [e for e in board if e["mergeable"] and e["seeds"] and e["val_accuracy"] is not None]
    merging.sort(key=by_validation)
    merged = certificate = None
    if merging:
        final = next(
            r for r in rows
            if r["stage"] == "final" and r["verdict"] == "finished"
            and configuration(r) == configuration(merging[0])
        )  # fmt: skip
        try:
            tuning = of_run(folder, final, TUNING).opened(folder)
            certificate = merge_tuning(tuning, folder / MERGED, bench.backbone, bench.data)
            merged = folder / MERGED
        except Unwritable:  # a full disk is no property of the method: the next call merges it
            raise
        except InputError as error:  # the rows stand, and so does their report
            say(f"{merging[0]['label']} is not merged: {error}")
    label = merging[0]["label"] if merged else None
    return Comparison(
        folder, rows, tuple(board), decision, best, merged, label, certificate, terms.left_out
    )
