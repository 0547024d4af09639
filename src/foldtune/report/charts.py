"""What the charts share: colours, axes, and how a chart is finished.

One rendering serves light and dark: the background is transparent, text and lines are a middle grey
that reads on both, and the page's style sheet sharpens them for the scheme in use. `PAPER` turns a
chart into one for print.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from foldtune.analysis.row import Row

# Found by search: every pair is told apart in normal, protan and deutan vision (OKLab distance
# 0.10 or more), and each has a contrast of 2.8 or more on white and 3.0 on #15171b.
PALETTE = (
    *("#366ed5", "#c1460d", "#21ae7f", "#7f5498"),
    *("#c7880a", "#01845f", "#8c87fb", "#5e92b5"),
)
GREY = "#7d828b"
# From little to much, and from below to above: blue and orange stay apart in every colour vision.
LITTLE_TO_MUCH = ("#eaf0fb", "#1d4ea8")
BELOW_TO_ABOVE = ("#b8430c", "#f3f2ef", "#2a5db8")
_ROOM = 20  # numbers that an axis of a phone's width holds
STEPS = alt.Scale(zero=False, nice=False, padding=12)
ROW_HEIGHT = 20  # in pixels: a step would make Vega-Lite warn beside a width of "container"

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left")
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_INK = {"labelColor": "#333333", "titleColor": "#333333"}
# The configuration of a chart that leaves the page: black on white.
PAPER: dict[str, Any] = {
    "background": "white",
    "axis": {**_INK, "domainColor": "#333333", "tickColor": "#333333"},
    "legend": _INK,
    "header": _INK,
}


def colours(rows: Iterable[Row]) -> dict[str, str]:
    """A colour a label, in order of first appearance, so that adding a method moves no colour."""
    labels = dict.fromkeys(row["label"] for row in rows)
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}


def among(palette: dict[str, str], names: Iterable[str]) -> dict[str, str]:
    """The palette of some names, in its own order; a name that is not in it is grey."""
    names = list(names)
    rest = {name: GREY for name in names if name not in palette}
    return {name: colour for name, colour in palette.items() if name in names} | rest


def share(field: str, title: str, **more: Any) -> alt.Y:
    """The vertical axis of a share, in percent."""
    scale = alt.Scale(zero=False)
    return alt.Y(f"{field}:Q", title=title, axis=alt.Axis(format="%"), scale=scale, **more)


def across(field: str, title: str, **more: Any) -> alt.X:
    """The horizontal axis of a share, in percent."""
    more.setdefault("scale", alt.Scale(zero=False))
    axis = alt.Axis(format="%", tickCount=6, labelOverlap=True)
    return alt.X(f"{field}:Q", title=title, axis=axis, **more)


def count_axis(last: int, first: int = 1) -> alt.Axis:
    """The axis of a whole number: each once, where they have room; two ticks of a step below 1
    would read "1, 2, 2"."""
    values = list(range(first, last + 1))
    few = {"values": values} if len(values) <= _ROOM else {"tickMinStep": 1}
    return alt.Axis(format="d", grid=False, **few)


def names_down(field: str, order: Sequence[str]) -> alt.Y:
    """A row a name, in this order."""
    axis = alt.Axis(labelLimit=150, domain=False, ticks=False, grid=False)
    return alt.Y(f"{field}:N", title=None, axis=axis, **in_order(order))


def in_order(order: Sequence[str]) -> dict[str, Any]:
    """The options of a band axis that has these names in this order.

    By the scale's domain: Vega-Lite writes names to sort by into an expression, which a name with a
    line separator (U+2028) breaks.
    """
    return {"sort": None, "scale": alt.Scale(domain=list(dict.fromkeys(order)))}


def method(palette: dict[str, str], **more: Any) -> alt.Color:
    scale = alt.Scale(domain=list(palette), range=list(palette.values()))
    return alt.Color("label:N", scale=scale, title=None, **more)


def line(palette: dict[str, str]) -> alt.Color:
    """As `method`, its legend drawn as lines so that it shows the dashes."""
    return method(
        palette,
        legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=250),
    )


def shape(palette: dict[str, str]) -> alt.Shape:
    shapes = [_SHAPES[i % len(_SHAPES)] for i in range(len(palette))]
    return alt.Shape("label:N", scale=alt.Scale(domain=list(palette), range=shapes), title=None)


def dash(palette: dict[str, str]) -> alt.StrokeDash:
    """A dash for each round of the palette, since its colours come again."""
    rounds: dict[str, int] = {}
    dashes = []
    for colour in palette.values():
        dashes.append(_DASHES[rounds.get(colour, 0) % len(_DASHES)])
        rounds[colour] = rounds.get(colour, 0) + 1
    return alt.StrokeDash(
        "label:N", scale=alt.Scale(domain=list(palette), range=dashes), title=None
    )


def width(palette: dict[str, str]) -> alt.StrokeWidth:
    """From thick to thin, so that a curve shows beside one of the same values drawn over it."""
    thick, thin = 6.0, 1.5
    step = (thick - thin) / max(1, len(palette) - 1)
    widths = [round(thick - place * step, 2) for place in range(len(palette))]
    # Ordinal: of a nominal field Vega-Lite warns that thick and thin mean nothing.
    return alt.StrokeWidth(
        "label:O", scale=alt.Scale(domain=list(palette), range=widths), title=None, sort=None
    )


def pick_by_legend() -> tuple[alt.Parameter, Any]:
    """A choice of methods by the legend, and the opacity that follows it."""
    choice = alt.selection_point(fields=["label"], bind="legend", name="method")
    return choice, alt.when(choice).then(alt.value(1)).otherwise(alt.value(0.1))


def tip(field: str, title: str, form: str | None = None) -> alt.Tooltip:
    kind = "N" if form is None else "Q"
    return alt.Tooltip(f"{field}:{kind}", title=title, format=form or alt.Undefined)


def finish(
    *layers: Any, values: Sequence[Mapping[str, Any]], description: str, height: int = 320
) -> alt.LayerChart:
    grey = {"labelColor": GREY, "titleColor": GREY}
    axis = {**grey, "gridColor": GREY, "gridOpacity": 0.2, "domainColor": GREY}
    chart: alt.LayerChart = (
        alt.LayerChart(layer=list(layers), data=alt.Data(values=list(values)))
        .properties(
            width="container",
            height=height,
            description=description,
        )
        .configure(background="transparent", font=_FONT)
        .configure_axis(
            **axis, tickColor=GREY, titleFontWeight="normal", titlePadding=10, labelFontSize=11
        )
        .configure_view(stroke=None)
        .configure_legend(
            **grey, orient="bottom", columns=4, symbolSize=90, symbolOpacity=1, labelLimit=200
        )
    )
    return chart
