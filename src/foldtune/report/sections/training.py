"""Validation accuracy by epoch of each method's chosen trial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from foldtune.analysis.leaderboard import chosen_trial
from foldtune.analysis.row import Row
from foldtune.report import charts
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section


def section(study: Material) -> Section | None:
    chart = training_chart(study.rows, study.palette, study.ties)
    if chart is None:
        return None
    columns = {"label": "label", "epoch": "epoch", "val_accuracy": "accuracy"}
    return Section(
        "training",
        "Training curves",
        (
            "Validation accuracy by epoch of each method's chosen configuration, from epoch 0, its "
            "start. The dot is the last epoch, which counts; the ring is the best one that was "
            "trained. Click a name to follow one method, with shift several.",
        ),
        (Figure("training", "Training curves", chart, columns),),
    )


def training_chart(
    rows: Sequence[Row], palette: dict[str, str], ties: str = "small"
) -> alt.LayerChart | None:
    """Validation accuracy by epoch of each method's chosen trial; dot: last epoch, ring: best."""
    points: list[dict[str, Any]] = [
        {
            "label": label,
            "epoch": step["epoch"],
            "accuracy": step["val_accuracy"],
            "last": index == len(curve) - 1,
            "best": step["epoch"] == trial.get("val_best_epoch"),
        }
        for label, trial in _chosen_trials(rows, palette, ties)
        if (curve := [s for s in trial.get("curve") or [] if s.get("val_accuracy") is not None])
        for index, step in enumerate(curve)
    ]
    if not points:
        return None
    choice, faded = charts.pick_by_legend()
    base = alt.Chart().encode(
        x=alt.X(
            "epoch:Q",
            axis=charts.count_axis(max(point["epoch"] for point in points), first=0),
            scale=charts.STEPS,
        ),
        y=charts.share("accuracy", "validation accuracy"),
        color=charts.line(palette),
        opacity=faded,
        tooltip=[
            tip("label", "method"), tip("epoch", "epoch", "d"), tip("accuracy", "validation", ".1%")
        ],
    )  # fmt: skip
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=charts.dash(palette))
    last = base.mark_point(size=40, filled=True).transform_filter("datum.last")
    best = base.mark_point(size=80, strokeWidth=1.2).transform_filter("datum.best")
    return charts.finish(
        lines.add_params(choice),
        best,
        last,
        values=points,
        description="Validation accuracy by epoch of the chosen configuration of each method.",
    )


def _chosen_trials(
    rows: Sequence[Row], palette: dict[str, str], ties: str
) -> Iterable[tuple[str, Row]]:
    for label in palette:
        trials = (row for row in rows if row["label"] == label and row["stage"] == "trial")
        if trial := chosen_trial(trials, ties):
            yield label, trial
