"""Whether the probabilities of each class or label are right."""

from __future__ import annotations

from typing import Any

import altair as alt

from foldtune.analysis.judgement.reliability import BINS, by_name
from foldtune.report import charts
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table
from foldtune.report.sections.judgement import names_of, percent, shown
from foldtune.tasks.kinds import Regression

Row = dict[str, Any]
_MOST = 8  # drawn classes
_FEW = 10  # images; a bin with fewer is not drawn
_ROWS = 200


def section(study: Material) -> Section | None:
    panel, name = study.panel, shown(study)
    if panel is None or name is None or isinstance(panel.task, Regression):
        return None
    rows = [row for row in by_name(panel, name, names_of(study)) if row["images"]]
    if not rows:
        return None
    drawn = [row["class"] for row in rows[:_MOST]]
    points = [
        {"label": row["class"], **one}
        for row in rows[:_MOST] for one in row["bins"] if one["images"] >= _FEW
    ]  # fmt: skip
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
            f"Of the probability that {name} gives each class or label, one against the rest: "
            f"{BINS} bins of equal width, those of {_FEW} test images or more drawn, seeds "
            f"together. On the diagonal the probability is the share.{more} Few images leave an "
            "error even where all is right: that is what it is by chance.",
            said,
        ),
        (Figure(
            "class-reliability", "Reliability of each class",
            _chart(points, dict(zip(sorted(drawn), charts.PALETTE * _MOST, strict=False))),
            {key: key for key in ("label", "probability", "share", "images")}, wide=False,
        ),),
        (Table("Reliability of each class", columns, cells, ("class",)),),
    )  # fmt: skip


def _chart(points: list[Row], palette: dict[str, str]) -> alt.LayerChart:
    choice, faded = charts.picked()
    unit = alt.Scale(domain=[0, 1])
    base = alt.Chart().encode(
        x=charts.across("probability", "probability", scale=unit),
        y=alt.Y("share:Q", title="share of images", axis=alt.Axis(format="%"), scale=unit),
        color=charts.line(palette), opacity=faded,
        tooltip=[
            tip("label", "class"), tip("probability", "probability", ".1%"),
            tip("share", "share", ".1%"), tip("images", "images", ","),
        ],
    )  # fmt: skip
    truth = alt.Chart().mark_rule(color=charts.GREY, strokeDash=[3, 3]).encode(
        x=alt.datum(0), y=alt.datum(0), x2=alt.datum(1), y2=alt.datum(1)
    )  # fmt: skip
    return charts.finish(
        truth,
        base.mark_line(strokeWidth=1.5).encode(strokeDash=charts.dash(palette)).add_params(choice),
        base.mark_point(size=28, filled=True),
        values=points,
        description=f"Share of images that are of each class by its probability, in {BINS} bins, "
        "beside the diagonal of right probabilities.",
    )
