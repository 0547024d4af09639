"""What each method costs: time of a run, parameters, and bytes to keep."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import altair as alt

from foldtune.analysis.leaderboard import is_finished
from foldtune.analysis.row import Standing
from foldtune.console import duration
from foldtune.report import charts
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table
from foldtune.study.results.artefacts import TUNING

_COLUMNS = ("label", "seconds", "test_accuracy", "trainable", "head", "bytes", "all_seconds")


def section(study: Material) -> Section | None:
    rows = [_cost(study, entry) for entry in study.board]
    rows = [row for row in rows if row["seconds"] is not None]
    if not rows:
        return None
    figures: tuple[Figure, ...] = ()
    if any(row["test_accuracy"] is not None for row in rows):
        chart = time_chart(rows, study.palette)
        columns = {key: key for key in _COLUMNS}
        figures = (Figure("costs", "Accuracy against time", chart, columns),)
    return Section(
        "costs",
        "Costs",
        (
            "Seconds of one run of the chosen configuration (the median), on the machine that ran "
            "it and with whatever else ran there; parameters and bytes hold anywhere.",
        ),
        figures,
        (_table(rows),),
    )


def time_chart(rows: Sequence[dict[str, Any]], palette: dict[str, str]) -> alt.LayerChart:
    tested = [row for row in rows if row["test_accuracy"] is not None]
    marks = alt.Chart().mark_point(size=75, filled=True, opacity=1).encode(
        x=alt.X("seconds:Q", title="seconds of a run", scale=alt.Scale(zero=False, padding=14),
                axis=alt.Axis(grid=False)),
        y=charts.share("test_accuracy", "test accuracy"),
        color=charts.method(palette),
        shape=charts.shape(palette),
        tooltip=[
            tip("label", "method"), tip("seconds", "seconds", ",.1f"),
            tip("test_accuracy", "test", ".1%"), tip("trainable", "trainable", ","),
        ],
    )  # fmt: skip
    return charts.finish(
        marks,
        values=tested,
        description="Test accuracy of each method against the seconds of one training run.",
        height=280,
    )


def _cost(study: Material, entry: Standing) -> dict[str, Any]:
    stage = "final" if entry["seeds"] else "trial"
    rows = [
        row
        for row in study.rows
        if row["label"] == entry["label"] and row["stage"] == stage and is_finished(row)
    ]
    times = [row["seconds"] for row in rows if row.get("seconds")]
    files = (study.folder / "runs" / str(row["run"]) / TUNING for row in rows)
    sizes = [file.stat().st_size for file in files if file.is_file()]
    return {
        "label": entry["label"],
        "seconds": median(times) if times else None,
        "all_seconds": entry["seconds"],
        "test_accuracy": entry["test_accuracy"],
        "trainable": entry["trainable"],
        "head": entry["head"],
        "bytes": max(sizes, default=None),
        "folds": {True: "yes", False: "no", None: "–"}[entry["mergeable"]],
    }


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    cells = tuple(
        (
            row["label"],
            duration(row["seconds"]) if row["seconds"] >= 10 else f"{row['seconds']:.1f} s",
            duration(row["all_seconds"]),
            f"{row['trainable']:,}",
            "–" if row["head"] is None else f"{row['head']:,}",
            "–" if row["bytes"] is None else f"{row['bytes'] / 1024:,.0f} KiB",
            row["folds"],
        )
        for row in rows
    )
    columns = ("method", "one run", "all runs", "trainable", "head", "file to keep", "folds in")
    return Table("Costs", columns, cells)
