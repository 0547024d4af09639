"""Test accuracy against the number of trainable parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from foldtune.analysis.row import Standing
from foldtune.report import charts
from foldtune.report.charts import GREY, tip
from foldtune.report.labels import place_labels
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section

_POINT = ("label", "method", "trainable", "val_accuracy", "test_accuracy", "low", "high", "winner")
_COLUMNS = ("label", "method", "trainable", "val_accuracy", "test_accuracy", "low", "high")


def section(study: Material) -> Section | None:
    chart = accuracy_chart(study.board, study.palette)
    if chart is None:
        return None
    figure = Figure("accuracy", "Accuracy against size", chart, {key: key for key in _COLUMNS})
    return Section(
        "accuracy",
        "Accuracy against size",
        (
            "Test accuracy with its 95 % interval by the number of trainable parameters, the head "
            "not counted. The ring marks the chosen method.",
        ),
        (figure,),
    )


def accuracy_chart(board: Sequence[Standing], palette: dict[str, str]) -> alt.LayerChart | None:
    """Test accuracy with its interval against trainable parameters; the chosen method is ringed."""
    tested = [entry for entry in board if entry["test_accuracy"] is not None]
    if not tested:
        return None
    points = [
        {**_point(entry), **_beside(entry, place)}
        for entry, place in zip(tested, place_labels(tested), strict=True)
    ]
    base = alt.Chart().encode(x=_parameters(points))
    accuracy = alt.Y("test_accuracy:Q", title="test accuracy", axis=alt.Axis(format="%"))
    method = charts.method(palette)
    bars = base.mark_rule(strokeWidth=1.5, opacity=0.8).encode(
        y=charts.share("low", "test accuracy"), y2="high:Q"
    )
    ring = base.mark_point(size=260, color=GREY, strokeWidth=1.2).encode(y=accuracy)
    marks = base.mark_point(size=75, filled=True, opacity=1).encode(
        y=accuracy, shape=charts.shape(palette), tooltip=_tooltip()
    )
    # Narrow screens have no room for names beside the points; the legend says the same.
    shown = alt.ExprRef("width < 420 ? 0 : datum.shown")
    names = base.mark_text(
        fontSize=11,
        color=GREY,
        opacity=shown,
        dx=alt.ExprRef("datum.dx"),
        dy=alt.ExprRef("datum.dy"),
        align=alt.ExprRef("datum.align"),
    ).encode(y=accuracy, text="label:N")
    return charts.finish(
        bars.encode(color=method),
        ring.transform_filter("datum.winner"),
        marks.encode(color=method),
        names.properties(name="names"),
        values=points,
        description="Test accuracy with 95 % intervals against the number of trainable parameters.",
    )


def _point(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in _POINT}


def _beside(entry: Standing, place: dict[str, Any]) -> dict[str, Any]:
    """The place of a name, farther off where there is a ring."""
    away = 5 if entry["winner"] else 0
    return {**place, "dx": place["dx"] + {"left": away, "right": -away}.get(place["align"], 0)}


def _tooltip() -> list[alt.Tooltip]:
    return [
        tip("method", "method"),
        tip("trainable", "trainable", ","),
        tip("val_accuracy", "validation", ".1%"),
        tip("test_accuracy", "test", ".1%"),
        tip("low", "from", ".1%"),
        tip("high", "to", ".1%"),
    ]


def _parameters(points: Sequence[Mapping[str, Any]]) -> alt.X:
    """The axis of trainable parameters: logarithmic, with room for zero (a linear probe)."""
    positive = [point["trainable"] for point in points if point["trainable"] > 0] or [1]
    first, last = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    decades = [10**power for power in range(first, max(last, first + 1) + 1)]
    zero = any(point["trainable"] == 0 for point in points)
    # Vega places symlog's ticks as if it were linear (vega 6), so they are given.
    return alt.X(
        "trainable:Q",
        title="trainable parameters (head not counted)",
        scale=alt.Scale(
            type="symlog" if zero else "log",
            constant=10**first / 2 if zero else alt.Undefined,
            domain=[0 if zero else decades[0], decades[-1]],
            nice=False,
            padding=14,
        ),
        axis=alt.Axis(
            values=[0, *decades] if zero else decades,
            labelExpr="format(datum.value, '~s')",  # a format would write 1,000 as 0M
            grid=False,
        ),
    )
