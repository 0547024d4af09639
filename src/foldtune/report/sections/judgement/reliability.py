"""Whether the probabilities of each class or label are right."""

from __future__ import annotations

from typing import Any

import altair as alt

from foldtune.analysis.judgement.reliability import BINS, by_name
from foldtune.report import charts
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table
from foldtune.report.sections.judgement import names_of, percent, shown_method
from foldtune.tasks.kinds import Regression

Row = dict[str, Any]
_MOST = 20  # drawn classes, those of the largest error
_ROWS = 200
_DRAWN = ("class", "ece", "by_chance", "images")


def section(study: Material) -> Section | None:
    panel, name = study.panel, shown_method(study)
    if panel is None or name is None or isinstance(panel.task, Regression):
        return None
    rows = [row for row in by_name(panel, name, names_of(study)) if row["images"]]
    if not rows:
        return None
    drawn = [{key: row[key] for key in _DRAWN} for row in rows[:_MOST]]
    worst, more = rows[0], f" The {_MOST} of largest error are drawn." if rows[_MOST:] else ""
    said = (
        f"Furthest off is {worst['class']}: {percent(worst['ece'])} points, where chance alone "
        f"gives {percent(worst['by_chance'])}; its mean probability is "
        f"{percent(worst['probability'])} %, its share of the images {percent(worst['share'])} %."
    )
    cells = tuple(
        (row["class"], f"{row['images']:,}", percent(row["share"]), percent(row["probability"]),
         percent(row["ece"]), percent(row["by_chance"]))
        for row in rows[:_ROWS]
    )  # fmt: skip
    columns = ("class", "images", "% of images", "mean probability %", "ECE, points", "by chance")
    return Section(
        "class-reliability", "Reliability of each class",
        (
            f"The error of the probability that {name} gives each class or label, one against the "
            f"rest: how far it lies from the share of images, in {BINS} bins of equal width, seeds "
            "together. The tick is what the error would be by chance were all probabilities right: "
            f"few images leave some.{more}",
            said,
        ),
        (Figure(
            "class-reliability", "Reliability of each class",
            _chart(drawn), {key: key for key in _DRAWN}, wide=False,
        ),),
        (Table("Reliability of each class", columns, cells, ("class",)),),
    )  # fmt: skip


def _chart(drawn: list[Row]) -> alt.LayerChart:
    base = alt.Chart().encode(
        y=charts.names_down("class", [row["class"] for row in drawn]),
        tooltip=[
            tip("class", "class"), tip("ece", "error", ".1%"),
            tip("by_chance", "by chance", ".1%"), tip("images", "images", ","),
        ],
    )  # fmt: skip
    zero = alt.Scale(zero=True)
    bars = base.mark_rule(strokeWidth=2, color=charts.PALETTE[0]).encode(
        x=charts.across("ece", "expected calibration error", scale=zero), x2=alt.datum(0)
    )
    dots = base.mark_point(size=40, filled=True, opacity=1, color=charts.PALETTE[0]).encode(
        x=alt.X("ece:Q")
    )
    ticks = base.mark_tick(color=charts.GREY, thickness=2, size=12).encode(x=alt.X("by_chance:Q"))
    return charts.finish(
        bars, ticks, dots,
        values=drawn,
        description="Expected calibration error of each class, beside what chance alone leaves.",
    )  # fmt: skip
