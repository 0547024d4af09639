"""The charts of a report: Altair specifications made from rows, without sizes or page.

One rendering serves light and dark: the background is transparent, text and lines are a middle grey
that reads on both, and the page's style sheet sharpens them for the scheme in use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from foldtune.analysis.ranking import chosen_trial
from foldtune.analysis.selection import best_after
from foldtune.report.labels import place_labels

Row = dict[str, Any]

# Found by search: every pair is told apart in normal, protan and deutan vision (OKLab distance
# 0.10 or more), and each has a contrast of 2.8 or more on white and 3.0 on #15171b.
PALETTE = (
    *("#366ed5", "#c1460d", "#21ae7f", "#7f5498"),
    *("#c7880a", "#01845f", "#8c87fb", "#5e92b5"),
)
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left")
_STEPS = alt.Scale(zero=False, nice=False, padding=12)
_GREY = "#7d828b"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def colours(rows: Iterable[Row]) -> dict[str, str]:
    """A colour a label, in order of first appearance, so that adding a method moves no colour."""
    labels = dict.fromkeys(row["label"] for row in rows)
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}


def accuracy_chart(board: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart | None:
    """Test accuracy with its interval against trainable parameters; the chosen method is ringed."""
    tested = [entry for entry in board if entry["test_accuracy"] is not None]
    if not tested:
        return None
    points = [
        {**{key: entry[key] for key in _POINT}, **place}
        for entry, place in zip(tested, place_labels(tested), strict=True)
    ]
    base = alt.Chart(alt.Data(values=points)).encode(x=_parameters(points))
    accuracy = alt.Y("test_accuracy:Q", title="test accuracy", axis=alt.Axis(format="%"))
    method = _method(palette)
    bars = base.mark_rule(strokeWidth=1.5, opacity=0.8).encode(
        y=alt.Y("low:Q", title="test accuracy", scale=alt.Scale(zero=False)), y2="high:Q"
    )
    ring = base.mark_point(size=260, color=_GREY, strokeWidth=1.2).encode(y=accuracy)
    marks = base.mark_point(size=75, filled=True, opacity=1).encode(
        y=accuracy, shape=_shape(palette), tooltip=_tooltip()
    )
    # Narrow screens have no room for names beside the points; the legend says the same.
    shown = alt.ExprRef("width < 420 ? 0 : datum.shown")
    names = base.mark_text(
        fontSize=11,
        color=_GREY,
        opacity=shown,
        dx=alt.ExprRef("datum.dx"),
        dy=alt.ExprRef("datum.dy"),
        align=alt.ExprRef("datum.align"),
    ).encode(y=accuracy, text="label:N")
    return _finish(
        bars.encode(color=method),
        ring.transform_filter("datum.winner"),
        marks.encode(color=method),
        names,
        description="Test accuracy with 95 % intervals against the number of trainable parameters.",
    )


def training_chart(rows: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart | None:
    """Validation accuracy by epoch of each method's chosen trial; dot: last epoch, ring: best."""
    points = [
        {
            "label": label,
            "epoch": step["epoch"],
            "accuracy": step["val_accuracy"],
            "last": index == len(curve) - 1,
            "best": step["epoch"] == trial.get("val_best_epoch"),
        }
        for label, trial in _chosen(rows, palette)
        if (curve := [s for s in trial.get("curve") or [] if s.get("val_accuracy") is not None])
        for index, step in enumerate(curve)
    ]
    if not points:
        return None
    picked = alt.selection_point(fields=["label"], bind="legend", name="method")
    faded = alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.1))
    base = alt.Chart(alt.Data(values=points)).encode(
        x=alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, format="d", grid=False), scale=_STEPS),
        y=_accuracy("accuracy", "validation accuracy"),
        color=_line(palette),
        opacity=faded,
        tooltip=[
            alt.Tooltip("label:N", title="method"),
            alt.Tooltip("epoch:Q"),
            alt.Tooltip("accuracy:Q", title="validation", format=".1%"),
        ],
    )
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=_dash(palette)).add_params(picked)
    last = base.mark_point(size=40, filled=True).transform_filter("datum.last")
    best = base.mark_point(size=80, strokeWidth=1.2).transform_filter("datum.best")
    return _finish(
        lines,
        best,
        last,
        description="Validation accuracy by epoch of the chosen configuration of each method.",
    )


def tuning_chart(rows: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart | None:
    """Best validation accuracy after n trials of each method; a diverged trial counts as spent."""
    points: list[Row] = []
    for label in palette:
        trials = [row for row in rows if row["label"] == label and row["stage"] == "trial"]
        points += [
            {"label": label, "trials": spent, "accuracy": best}
            for spent, best in enumerate(best_after(trials), 1) if best is not None
        ]  # fmt: skip
    if not points:
        return None
    picked = alt.selection_point(fields=["label"], bind="legend", name="method")
    base = alt.Chart(alt.Data(values=points)).encode(
        x=alt.X(
            "trials:Q",
            title="trials spent",
            axis=alt.Axis(tickMinStep=1, format="d", grid=False),
            scale=_STEPS,
        ),
        y=_accuracy("accuracy", "best validation accuracy so far"),
        color=_line(palette),
        opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.1)),
        tooltip=[
            alt.Tooltip("label:N", title="method"),
            alt.Tooltip("trials:Q", title="trials spent"),
            alt.Tooltip("accuracy:Q", title="best so far", format=".1%"),
        ],
    )
    lines = base.mark_line(interpolate="step-after", strokeWidth=2).encode(
        strokeDash=_dash(palette)
    )
    return _finish(
        lines.add_params(picked),
        base.mark_point(size=30, filled=True),
        description="Best validation accuracy found by each method after a number of trials.",
    )


_POINT = ("label", "method", "trainable", "val_accuracy", "test_accuracy", "low", "high", "winner")


def _chosen(rows: Sequence[Row], palette: dict[str, str]) -> Iterable[tuple[str, Row]]:
    for label in palette:
        trials = (row for row in rows if row["label"] == label and row["stage"] == "trial")
        if trial := chosen_trial(trials):
            yield label, trial


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("method:N"),
        alt.Tooltip("trainable:Q", title="trainable", format=","),
        alt.Tooltip("val_accuracy:Q", title="validation", format=".1%"),
        alt.Tooltip("test_accuracy:Q", title="test", format=".1%"),
        alt.Tooltip("low:Q", title="from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
    ]


def _parameters(points: Sequence[Row]) -> alt.X:
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


def _accuracy(field: str, title: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(zero=False))


def _method(palette: dict[str, str]) -> alt.Color:
    scale = alt.Scale(domain=list(palette), range=list(palette.values()))
    return alt.Color("label:N", scale=scale, title=None)


def _line(palette: dict[str, str]) -> alt.Color:
    """As `_method`, its legend drawn as lines so that it shows the dashes."""
    scale = alt.Scale(domain=list(palette), range=list(palette.values()))
    legend = alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=250)
    return alt.Color("label:N", scale=scale, title=None, legend=legend)


def _shape(palette: dict[str, str]) -> alt.Shape:
    shapes = [_SHAPES[i % len(_SHAPES)] for i in range(len(palette))]
    return alt.Shape("label:N", scale=alt.Scale(domain=list(palette), range=shapes), title=None)


def _dash(palette: dict[str, str]) -> alt.StrokeDash:
    """A dash for each round of the palette, since its colours come again."""
    dashes = [_DASHES[i // len(PALETTE) % len(_DASHES)] for i in range(len(palette))]
    return alt.StrokeDash(
        "label:N", scale=alt.Scale(domain=list(palette), range=dashes), title=None
    )


def _finish(*layers: alt.Chart, description: str) -> alt.LayerChart:
    grey = {"labelColor": _GREY, "titleColor": _GREY}
    axis = {**grey, "gridColor": _GREY, "gridOpacity": 0.2, "domainColor": _GREY}
    return (
        alt.LayerChart(layer=list(layers))
        .properties(width="container", height=320, description=description)
        .configure(background="transparent", font=_FONT)
        .configure_axis(
            **axis, tickColor=_GREY, titleFontWeight="normal", titlePadding=10, labelFontSize=11
        )
        .configure_view(stroke=None)
        .configure_legend(
            **grey, orient="bottom", columns=4, symbolSize=90, symbolOpacity=1, labelLimit=200
        )
    )
