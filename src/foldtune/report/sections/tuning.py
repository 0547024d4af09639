"""What tuning gained: the best validation accuracy after n trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from foldtune.analysis.row import Row
from foldtune.analysis.selection import best_after
from foldtune.report import charts
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section


def section(study: Material) -> Section | None:
    chart = tuning_chart(study.rows, study.palette)
    if chart is None:
        return None
    columns = {"label": "label", "trials": "trials", "best_val_accuracy": "accuracy"}
    return Section(
        "tuning",
        "Tuning",
        (
            "The best validation accuracy that each method had reached after a number of trials: "
            "a curve that still climbs at its end would gain from a larger budget.",
        ),
        (Figure("tuning", "Tuning", chart, columns),),
    )


def tuning_chart(rows: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart | None:
    """Best validation accuracy after n trials of each method; a diverged trial counts as spent."""
    points: list[dict[str, Any]] = []
    for label in palette:
        trials = [row for row in rows if row["label"] == label and row["stage"] == "trial"]
        points += [
            {"label": label, "trials": spent, "accuracy": best}
            for spent, best in enumerate(best_after(trials), 1)
            if best is not None
        ]
    if not points:
        return None
    choice, faded = charts.pick_by_legend()
    most = max(point["trials"] for point in points)
    base = alt.Chart().encode(
        x=alt.X(
            "trials:Q",
            title="trials spent",
            axis=charts.count_axis(most),
            scale=charts.STEPS,
        ),
        y=charts.share("accuracy", "best validation accuracy so far"),
        color=charts.line(palette),
        opacity=faded,
        tooltip=[
            tip("label", "method"), tip("trials", "trials spent", "d"),
            tip("accuracy", "best so far", ".1%"),
        ],
    )  # fmt: skip
    lines = base.mark_line(interpolate="step-after")
    return charts.finish(
        lines.encode(strokeDash=charts.dash(palette), strokeWidth=charts.width(palette)).add_params(
            choice
        ),
        base.mark_point(size=30, filled=True),
        values=points,
        description="Best validation accuracy found by each method after a number of trials.",
    )
