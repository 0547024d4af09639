"""Tunings judged away from home: other domains and corrupted copies."""

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
_COLUMNS = ("label", "shift", "top1", "home", "drop", "images", "effective")


def section(study: Material) -> Section | None:
    found = study.results("shift")
    rows: list[Row] = [
        {key: {**row, "label": label}.get(key) for key in _COLUMNS}
        for label, told in found
        for row in told["shifts"]
    ]
    if not rows:
        return None
    palette = charts.among(study.palette, dict.fromkeys(row["label"] for row in rows))
    figure = Figure(
        "shift", "Accuracy under shift", shift_chart(rows, palette), {key: key for key in _COLUMNS}
    )
    words = ["Accuracy on images of other domains, or corrupted ones; grey ticks: the same model "
             "at home, over the same classes."]  # fmt: skip
    worst = max(rows, key=lambda row: row["drop"])
    words.append(
        f"The largest drop is {100 * worst['drop']:.1f} points: {worst['label']} on "
        f"{worst['shift']}."
    )
    return Section("shift", "Shift", tuple(words), (figure,), (_table(rows),), words[1])


def shift_chart(rows: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart:
    order = list(dict.fromkeys(row["shift"] for row in rows))
    base = alt.Chart().encode(y=charts.names_down("shift", order))
    dots = base.mark_point(size=65, filled=True, opacity=0.9).encode(
        x=charts.across("top1", "accuracy"),
        color=charts.method(palette),
        shape=charts.shape(palette),
        tooltip=[
            tip("label", "tuning"), tip("shift", "shift"), tip("top1", "accuracy", ".1%"),
            tip("home", "at home", ".1%"), tip("drop", "drop", ".1%"), tip("images", "images", ","),
        ],
    )  # fmt: skip
    home = base.mark_tick(color=charts.GREY, thickness=2, height=12).encode(
        x=charts.across("home", "accuracy")
    )
    return charts.finish(
        home,
        dots,
        values=rows,
        height=26 * len(order),
        description="Accuracy of each tuning under each shift, with its accuracy at home.",
    )


def _table(rows: Sequence[Row]) -> Table:
    cells = tuple(
        (
            row["label"],
            row["shift"],
            percent(row["top1"]),
            percent(row["home"]),
            f"{100 * row['drop']:.1f}",
            "–" if row["effective"] is None else f"{100 * row['effective']:+.1f}",
            f"{row['images']:,}" if row["images"] else "–",
        )
        for row in rows
    )
    columns = ("tuning", "shift", "accuracy", "at home", "drop", "effective robustness", "images")
    return Table("Shifts", columns, cells, ("tuning", "shift"))
