"""Weight-space ensembles: from the start to the tuned model, at home and under shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from foldtune.report import charts
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table
from foldtune.report.words import percent

Row = dict[str, Any]


def section(study: Material) -> Section | None:
    found = study.results("wise")
    points = [_point(label, told, row) for label, told in found for row in told["rows"]]
    if not points:
        return None
    shifted = [point for point in points if point["shift"] is not None]
    palette = charts.among(study.palette, dict.fromkeys(point["label"] for point in points))
    columns = {key: key for key in ("label", "alpha", "home", "shift", "validation", "frontier")}
    figures = [
        Figure("wise-home", "Accuracy at home by alpha", alpha_chart(points, palette), columns,
               wide=not shifted)
    ]  # fmt: skip
    if shifted:
        chart = frontier_chart(shifted, palette)
        figures.insert(0, Figure("wise", "Home against shift", chart, columns, wide=False))
    return Section(
        "wise",
        "Weight-space ensembles",
        (
            "The models between the backbone with its first classifier (alpha 0) and the tuned one "
            "(alpha 1). Filled points are on the Pareto frontier of accuracy at home and the mean "
            "under shift: no other alpha is better in one and not worse in the other.",
            *_alpha_sentence(found),
        ),
        tuple(figures),
        (_table(points),),
    )


def frontier_chart(points: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart:
    choice, faded = charts.pick_by_legend()
    base = alt.Chart().encode(
        x=charts.across("home", "accuracy at home"),
        y=charts.share("shift", "mean accuracy under shift"),
        color=charts.line(palette),
        opacity=faded,
    )
    path = base.mark_line(strokeWidth=1.5).encode(order="alpha:Q", strokeDash=charts.dash(palette))
    marks = base.mark_point(size=50, strokeWidth=1.5).encode(tooltip=_tooltip())
    ends = base.transform_filter("datum.alpha == 0 || datum.alpha == 1").mark_text(
        dx=8, align="left", fontSize=10, color=charts.GREY
    ).encode(text=alt.Text("alpha:Q", format=".1~f"), color=alt.value(charts.GREY))  # fmt: skip
    return charts.finish(
        path.add_params(choice),
        marks,
        base.mark_point(size=50, filled=True).transform_filter("datum.frontier"),
        ends.properties(name="names"),
        values=points,
        description="Accuracy at home against mean accuracy under shift along each weight-space "
        "ensemble; the numbers are alpha.",
    )


def alpha_chart(points: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart:
    choice, faded = charts.pick_by_legend()
    base = alt.Chart().encode(
        x=alt.X("alpha:Q", title="alpha", axis=alt.Axis(grid=False, labelOverlap=True)),
        y=charts.share("home", "accuracy at home"),
        color=charts.line(palette),
        opacity=faded,
        tooltip=_tooltip(),
    )
    path = base.mark_line(strokeWidth=2).encode(strokeDash=charts.dash(palette))
    return charts.finish(
        path.add_params(choice),
        base.mark_point(size=30, filled=True),
        values=points,
        description="Accuracy on the test split by alpha, the way from the start to the tuned "
        "model.",
    )


def _point(label: str, told: Row, row: Row) -> Row:
    fixed = {key: row.get(key) for key in ("alpha", "home", "validation")}
    return {
        "label": label,
        **fixed,
        "shift": row.get("mean_shift"),
        "frontier": bool(row.get("frontier")),
        "chosen": row.get("alpha") == told.get("chosen"),
    }


def _tooltip() -> list[alt.Tooltip]:
    return [
        tip("label", "tuning"), tip("alpha", "alpha", ".2~f"), tip("home", "home", ".1%"),
        tip("shift", "mean shift", ".1%"),
    ]  # fmt: skip


def _alpha_sentence(found: Sequence[tuple[str, Row]]) -> list[str]:
    said = [
        f"{label}: alpha {told['chosen']:g}"
        for label, told in found
        if told.get("chosen") is not None
    ]
    return [f"Chosen on validation: {'; '.join(said)}."] if said else []


def _table(points: Sequence[Row]) -> Table:
    cells = tuple(
        (
            point["label"],
            f"{point['alpha']:g}" + (", chosen" if point["chosen"] else ""),
            percent(point["validation"]),
            percent(point["home"]),
            percent(point["shift"]),
            "yes" if point["frontier"] else "",
        )
        for point in points
    )
    columns = ("tuning", "alpha", "validation", "home", "mean shift", "on the frontier")
    return Table("Every alpha", columns, cells, ("tuning",))
