"""Which methods the test images can tell apart, and where each would rank on other images."""

from __future__ import annotations

from typing import Any

import altair as alt

from foldtune.analysis.paired import differences, image_ranks
from foldtune.report import charts
from foldtune.report.cells import chance, plain, points
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table

Row = dict[str, Any]


def section(study: Material) -> Section | None:
    panel = study.panel
    if panel is None or len(panel.names) < 2:
        return None
    ranks, pairs = image_ranks(panel, study.counts), differences(panel, study.counts)
    apart = sum(pair["distinguishable"] for pair in pairs)
    seeds = "Seeds are held: the leaderboard's intervals cover them."
    return Section(
        "ranking",
        "Ranking",
        (
            "The rank of each method by test accuracy, 1 the best, and where it would lie on other "
            f"test images (95 % of resamples). {seeds}",
            f"{apart} of {len(pairs)} pairs are distinguishable: their difference is beyond chance "
            "at 5 % after Holm's correction for that many comparisons.",
        ),
        (
            Figure(
                "ranking",
                "Rank over resampled test images",
                rank_chart(ranks, study.palette),
                {"label": "label", "rank": "rank", "low": "low", "high": "high", "first": "first"},
            ),
        ),
        (_ranks(ranks), _pairs(pairs)),
        f"{apart} of {len(pairs)} pairs of methods are distinguishable on these test images.",
    )


def rank_chart(ranks: list[Row], palette: dict[str, str]) -> alt.LayerChart:
    values = [
        {
            "label": row["method"],
            "rank": row["rank"]["value"],
            "low": row["rank"]["low"],
            "high": row["rank"]["high"],
            "first": row["first"],
            "accuracy": row["accuracy"],
        }
        for row in ranks
    ]
    order = [value["label"] for value in values]
    base = alt.Chart().encode(
        y=charts.names_down("label", order),
        color=charts.method(charts.among(palette, order), legend=None),
    )
    whole = alt.Axis(tickMinStep=1, format="d")
    scale = alt.Scale(domain=[0.6, len(order) + 0.4], nice=False)
    title = "rank on the test images"
    bars = base.mark_rule(strokeWidth=2, opacity=0.8).encode(
        x=alt.X("low:Q", title=title, scale=scale, axis=whole), x2="high:Q"
    )
    dots = base.mark_point(size=60, filled=True, opacity=1).encode(
        x=alt.X("rank:Q", title=title, scale=scale, axis=whole),
        tooltip=[
            tip("label", "method"), tip("rank", "rank", ".1f"), tip("low", "from", ".1f"),
            tip("high", "to", ".1f"), tip("first", "first in", ".0%"),
        ],
    )  # fmt: skip
    return charts.finish(
        bars,
        dots,
        values=values,
        height=charts.ROW_HEIGHT * len(order),
        description="The rank of each method with its 95 % interval over resampled test images.",
    )


def _ranks(ranks: list[Row]) -> Table:
    rows = tuple(
        (
            row["method"],
            plain(100 * row["accuracy"]),
            plain(row["rank"]["value"]),
            f"{plain(row['rank']['low'])} to {plain(row['rank']['high'])}",
            f"{100 * row['first']:.0f} %",
        )
        for row in ranks
    )
    columns = ("method", "accuracy %", "rank", "95 % interval", "first in")
    return Table("Ranks", columns, rows)


def _pairs(pairs: list[Row]) -> Table:
    ordered = sorted(pairs, key=lambda row: row["p"])
    rows = tuple(
        (
            row["a"],
            row["b"],
            points(row["difference"], signed=True),
            chance(row["p"]),
            "yes" if row["distinguishable"] else "no",
        )
        for row in ordered
    )
    columns = (
        "method",
        "against",
        "difference in points (95 %)",
        "p after Holm",
        "distinguishable",
    )
    return Table("Differences between pairs", columns, rows, ("method", "against"))
