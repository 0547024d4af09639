"""Numbers: what is said beside what is true, and how far off."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from foldtune.analysis.decision import decide
from foldtune.report import charts
from foldtune.report.charts import GREY, tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table
from foldtune.report.sections.judgement import shown_method
from foldtune.tasks.kinds import Regression
from foldtune.tasks.metrics import values

Row = dict[str, Any]
_POINTS = 1000


def section(study: Material) -> Section | None:
    panel, name = study.panel, shown_method(study)
    if panel is None or name is None or not isinstance(panel.task, Regression):
        return None
    rows, best = [], ""
    for label, group in panel.runs.items():
        it = [panel.with_labels(member) for member in group]
        off = np.stack([np.abs(one.answers - one.targets) for one in it])
        # As a share of the largest error, so that the interval is one of shares.
        most = max(float(off.max()), 1e-12)
        found = decide({label: off / most}, study.groups, proportions=False, least=0.0)
        low, high = most * found.low[0], most * found.high[0]
        means = {k: float(np.mean([dict(values(one))[k] for one in it])) for k in ("rmse", "r2")}
        mae, bias = float(off.mean()), float(np.mean([one.answers - one.targets for one in it]))
        rows.append((label, f"{mae:.4g}", f"{low:.4g} to {high:.4g}", f"{means['rmse']:.4g}",
                     f"{means['r2']:.3f}", f"{bias:+.4g}"))  # fmt: skip
        if label == name:
            best = (
                f"{label} is off by {mae:.4g} on average (95 % interval {low:.4g} to {high:.4g}); "
                f"a constant answer is by {_constant(it[0].targets):.4g}."
            )
    first = panel.with_labels(panel.runs[name][0])
    points = [
        {"truth": float(t), "said": float(s), "residual": float(s - t)}
        for t, s in zip(first.targets[:_POINTS], first.answers[:_POINTS], strict=True)
    ]
    columns = ("method", "mean absolute error", "95 %", "root mean square", "R²", "mean error")
    return Section(
        "numbers", "What is said and what is true",
        (f"Test images of {name}, first seed; on the diagonal the answer is right.", best),
        (_figure("scatter", "Said and true", "said", points),
         _figure("residuals", "Residuals", "residual", points)),
        (Table("Errors", columns, tuple(rows)),), best,
    )  # fmt: skip


def _constant(targets: np.ndarray) -> float:
    return float(np.abs(targets - np.median(targets)).mean())


def _figure(key: str, title: str, up: str, points: list[Row]) -> Figure:
    truth = [point["truth"] for point in points]
    low, high = min(truth), max(truth)
    axis = alt.Scale(zero=False)
    dots = alt.Chart().mark_point(size=26, filled=True, opacity=0.6, color=charts.PALETTE[0])
    dots = dots.encode(
        x=alt.X("truth:Q", title="true", scale=axis), y=alt.Y(f"{up}:Q", title=up, scale=axis),
        tooltip=[tip("truth", "true", ".4g"), tip("said", "said", ".4g"),
                 tip("residual", "residual", "+.4g")],
    )  # fmt: skip
    ends = (low, high) if up == "said" else (0, 0)
    right = alt.Chart().mark_rule(color=GREY, strokeDash=[3, 3]).encode(
        x=alt.datum(low), x2=alt.datum(high), y=alt.datum(ends[0]), y2=alt.datum(ends[1])
    )  # fmt: skip
    chart = charts.finish(
        right, dots, values=points,
        description=f"{title}: a point a test image, by its true number.",
    )  # fmt: skip
    return Figure(key, title, chart, {k: k for k in ("truth", "said", "residual")}, wide=False)
