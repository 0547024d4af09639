"""Which methods the test images can tell apart, and between which ranks each lies."""

from __future__ import annotations

from typing import Any

import altair as alt

from foldtune.analysis.decision import IMAGES, Decision
from foldtune.report import charts
from foldtune.report.cells import chance, plain, points
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table
from foldtune.report.verdict import best_of, count_apart, pair_sentence

Row = dict[str, Any]


def section(study: Material) -> Section | None:
    decision = study.decision
    if decision is None or not decision.pairs:
        return None
    ranks = decision.as_json()["methods"]
    return Section(
        "ranking",
        "Ranking",
        (
            "The rank of each method by test accuracy, 1 the best, and the ranks between which it "
            "lies: from 1 + the number of methods told apart above it to the last without those "
            "below it. All pairs are judged together, so that at most one page in twenty calls any "
            "two different that are not.",
            f"{best_of(decision)} {count_apart(decision)}",
            *_examples(decision),
        ),
        (
            Figure(
                "ranking",
                "Ranks",
                rank_chart(ranks, study.palette),
                {"label": "label", "rank": "rank", "low": "low", "high": "high"},
            ),
        ),
        (_ranks(ranks), _pairs(decision)),
        count_apart(decision),
    )


def rank_chart(ranks: list[Row], palette: dict[str, str]) -> alt.LayerChart:
    values = [
        {
            "label": row["method"],
            "rank": _rank(row, ranks),
            "low": row["rank_low"],
            "high": row["rank_high"],
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
            tip("label", "method"), tip("rank", "rank", ".1f"), tip("low", "from", ".0f"),
            tip("high", "to", ".0f"), tip("accuracy", "accuracy", ".1%"),
        ],
    )  # fmt: skip
    return charts.finish(
        bars,
        dots,
        values=values,
        height=charts.ROW_HEIGHT * len(order),
        description="The rank of each method, and the ranks between which it lies at 95 %.",
    )


def _rank(row: Row, ranks: list[Row]) -> float:
    """1 the best; equal accuracies share their mean rank."""
    better = sum(other["accuracy"] > row["accuracy"] for other in ranks)
    equal = sum(other["accuracy"] == row["accuracy"] for other in ranks)
    place: float = better + (equal + 1) / 2
    return place


def _examples(decision: Decision) -> list[str]:
    """The nearest and the farthest pair that are told apart, and the farthest that are not."""
    ordered = sorted(decision.pairs, key=lambda pair: -abs(pair.difference))
    apart = [pair for pair in ordered if pair.apart]
    close = [pair for pair in ordered if not pair.apart]
    told = [*apart[:1], *apart[1:][-1:], *close[:1]]
    return [pair_sentence(decision, pair) for pair in told]


def _ranks(ranks: list[Row]) -> Table:
    rows = tuple(
        (
            row["method"],
            points({"value": row["accuracy"], "low": row["low"], "high": row["high"]}),
            plain(_rank(row, ranks)),
            f"{row['rank_low']} to {row['rank_high']}",
            "yes" if row["may_be_best"] else "no",
        )
        for row in ranks
    )
    columns = ("method", "accuracy % (95 %)", "rank", "between", "may be best")
    return Table("Ranks", columns, rows)


def _pairs(decision: Decision) -> Table:
    ordered = sorted(decision.pairs, key=lambda pair: (pair.p, -abs(pair.difference)))
    rows = tuple(
        (
            pair.a,
            pair.b,
            points(pair.as_json["difference"], signed=True),
            chance(pair.p),
            f"{100 * pair.images_share:.0f} %",
            "yes" if pair.apart else "no",
        )
        for pair in ordered
    )
    columns = (
        "method",
        "against",
        "difference in points (95 %, all pairs together)",
        "p, all pairs together",
        "of the variance images",
        "told apart on such images" if decision.covers == IMAGES else "distinguishable",
    )
    return Table("Differences between pairs", columns, rows, ("method", "against"))
