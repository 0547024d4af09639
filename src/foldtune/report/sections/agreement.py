"""How alike methods predict, beside how alike one method is with other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from foldtune.analysis.agreement import agreement, oracle
from foldtune.report import charts
from foldtune.report.cells import points
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table

Row = dict[str, Any]
_NARROW = 8  # methods up to which two maps stand side by side


def section(study: Material) -> Section | None:
    panel = study.panel
    if panel is None or len(panel.names) < 2:
        return None
    rows = agreement(panel, study.counts, study.groups)
    pairs = [row for row in rows if not row["control"]]
    known = [row for row in pairs if row["beyond_seeds"] is not None]
    order = [name for name in study.palette if name in panel.names]
    figures = [_figure("agreement", "Agreement", agreement_chart(rows, order), order)]
    if known:
        chart = beyond_chart(known, order)
        figures.append(_figure("beyond-seeds", "Agreement beyond seeds", chart, order))
    said = _sentences(pairs, known, [row for row in rows if row["control"]])
    some = oracle(panel, study.counts)
    reach = (
        f"At least one of the {some['methods']} methods is right on "
        f"{points(some['all_methods'])} % of the images; the best one alone on "
        f"{points(some['best_method'])} %."
    )
    if some["members"]:
        reach += (
            f" With {some['members']} members each: different methods "
            f"{points(some['methods_at'])} %, seeds of one method {points(some['seeds'])} %."
        )
    return Section(
        "agreement",
        "Agreement",
        (
            "The share of test images on which two methods predict the same class, averaged over "
            "pairs of seeds. On the diagonal, framed: one method with its own other seeds, the "
            "control without which no disagreement means anything.",
            *said,
            reach,
        ),
        tuple(figures),
        (_table(rows),),
        said[0] if said else "",
    )


def agreement_chart(rows: Sequence[Row], order: Sequence[str]) -> alt.LayerChart:
    values = []
    for row in rows:
        for a, b in {(row["a"], row["b"]), (row["b"], row["a"])}:
            values.append({"a": a, "b": b, "own": row["control"], **row["agreement"]})
    values.sort(key=lambda cell: (order.index(cell["a"]), order.index(cell["b"])))
    found = [value["value"] for value in values]
    low, high = min(found), max(found)
    middle = low + 0.75 * (high - low)  # beyond it white reads better
    scale = alt.Scale(domain=[low, max(high, low + 1e-6)], range=list(charts.LITTLE_TO_MUCH))
    for value in values:
        value["ink"] = "#ffffff" if value["value"] > middle else "#1b1d21"
    text = "The share of equal predictions of each pair of methods; the diagonal is other seeds."
    return _map(values, order, scale, text, "agreement", "datum.own")


def beyond_chart(rows: Sequence[Row], order: Sequence[str]) -> alt.LayerChart:
    values = []
    for row in rows:
        for a, b in ((row["a"], row["b"]), (row["b"], row["a"])):
            values.append({"a": a, "b": b, "own": row["differs"], **row["beyond_seeds"]})
    values.sort(key=lambda cell: (order.index(cell["a"]), order.index(cell["b"])))
    far = max(max(abs(value["value"]) for value in values), 1e-6)
    scale = alt.Scale(domain=[-far, 0, far], range=list(charts.BELOW_TO_ABOVE),
                      interpolate="rgb")  # fmt: skip
    for value in values:
        value["ink"] = "#ffffff" if abs(value["value"]) > 0.85 * far else "#1b1d21"
    text = "Agreement of each pair of methods minus their mean agreement with their own other seeds"
    return _map(values, order, scale, f"{text}; framed where below zero.", "minus seeds",
                "datum.own")  # fmt: skip


def _map(
    values: Sequence[Row], order: Sequence[str], scale: alt.Scale, text: str, title: str, frame: str
) -> alt.LayerChart:
    labels: Row = {"domain": False, "ticks": False, "labelLimit": 110, "grid": False}
    place = charts.in_order(order)
    base = alt.Chart().encode(
        x=alt.X("b:N", title=None, axis=alt.Axis(labelAngle=-45, **labels), **place),
        y=alt.Y("a:N", title=None, axis=alt.Axis(**labels), **place),
    )
    legend = alt.Legend(format=".0%", gradientLength=160, tickCount=3, title=title)
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", scale=scale, legend=legend),
        tooltip=[
            tip("a", "method"), tip("b", "and"), tip("value", title, ".1%"),
            tip("low", "from", ".1%"), tip("high", "to", ".1%"),
        ],
    )  # fmt: skip
    framed = base.mark_rect(filled=False, stroke=charts.GREY, strokeWidth=1.5)
    wide_enough = alt.ExprRef("bandwidth('x') < 26 || bandwidth('y') < 14 ? 0 : 1")
    figures = base.mark_text(fontSize=10.5, opacity=wide_enough).encode(
        text=alt.Text("shown:Q", format=".0f"),
        color=alt.Color("ink:N", scale=None),
    )
    heat: alt.LayerChart = charts.finish(
        cells,
        framed.transform_filter(frame),
        figures.transform_calculate(shown="100 * datum.value"),
        values=values,
        height=max(120, 26 * len(order)),
        description=text,
    ).resolve_scale(color="independent")
    return heat


def _figure(name: str, title: str, chart: alt.LayerChart, order: Sequence[str]) -> Figure:
    columns = {"method": "a", "and": "b", "value": "value", "low": "low", "high": "high"}
    return Figure(
        name, title, chart, columns, limit=170 + 56 * len(order), wide=len(order) > _NARROW
    )


def _sentences(pairs: Sequence[Row], known: Sequence[Row], own: Sequence[Row]) -> list[str]:
    mean = _mean(row["agreement"]["value"] for row in pairs)
    least = min(pairs, key=lambda row: row["agreement"]["value"])
    said = [
        f"Two methods agree on {mean} % of the test images on average; least "
        f"{least['a']} and {least['b']}, on {100 * least['agreement']['value']:.1f} %."
    ]
    if known:
        seeds = _mean(row["agreement"]["value"] for row in own)
        differ = sum(row["differs"] for row in known)
        said[0] = said[0].replace("on average;", f"on average, seeds of one method on {seeds} %;")
        said.append(
            f"{differ} of {len(known)} pairs agree less than seeds alone would explain, over new "
            "images and new seeds, all pairs together (framed in the second map)."
        )
    else:
        said.append("No method has a second seed, so there is no control; use --seeds 2 or more.")
    return said


def _mean(values: Any) -> str:
    found = list(values)
    return f"{100 * sum(found) / len(found):.1f}"


def _table(rows: Sequence[Row]) -> Table:
    cells = tuple(
        (
            row["a"],
            "other seeds" if row["control"] else row["b"],
            points(row["agreement"]),
            points(row["beyond_seeds"], signed=True),
            points(row["equal_mistakes"]),
            "–" if row["kappa"]["value"] is None else f"{row['kappa']['value']:.3f}",
        )
        for row in rows
    )
    columns = (
        "method",
        "and",
        "agreement % (95 %)",
        "minus seeds (all pairs together)",
        "equal mistakes %",
        "kappa",
    )
    return Table("Agreement of pairs", columns, cells, ("method", "and"))
