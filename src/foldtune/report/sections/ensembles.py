"""What several tunings together gain, and whether seeds of one method would gain the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from foldtune.analysis.ensemble import RULES, ensembles
from foldtune.report import charts
from foldtune.report.cells import points
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table
from foldtune.study.analyses import choices

Row = dict[str, Any]
_COLUMNS = ("ensemble", "rule", "gain", "low", "high", "accuracy", "passes")
_SHORT = {"probabilities": "probs"}  # names beside the rows must leave room on a phone


def section(study: Material) -> Section | None:
    found = study.predictions
    if found is None or (len(found.panel.names) < 2 and len(found.panel.members) < 2):
        return None
    chosen = choices(found) if len(found.panel.names) > 1 else []
    rows = ensembles(found.panel, chosen, study.counts)
    figure = Figure(
        "ensembles", "Gain of ensembles", gain_chart(rows), {key: key for key in _COLUMNS}
    )
    return Section(
        "ensembles",
        "Ensembles",
        (
            "Points of test accuracy that an ensemble gains over its best member (95 % over test "
            "images, paired). Which member is best on the test split nobody can know beforehand, "
            "so the gain is stated cautiously. Diamonds are the control, as many seeds of one "
            "method; of these the mean of probabilities alone is drawn.",
            *(_said(rows)),
        ),
        (figure,),
        (_table(rows),),
        next(iter(_said(rows)), ""),
    )


def gain_chart(rows: Sequence[Row]) -> alt.LayerChart:
    values = [
        {
            "name": f"{row['ensemble']}: {_SHORT.get(row['rule'], row['rule'])}",
            "ensemble": row["ensemble"],
            "rule": row["rule"],
            "kind": "seeds of one method" if row["control"] else "different methods",
            "gain": row["gain_over_best"]["value"],
            "low": row["gain_over_best"]["low"],
            "high": row["gain_over_best"]["high"],
            "accuracy": row["accuracy"]["value"],
            "passes": row["passes"],
        }
        for row in rows
        if not row["control"] or row["rule"] == "probabilities"
    ]
    for value in values:
        if value["kind"] != "different methods":
            value["name"] = value["ensemble"]
    kinds = alt.Scale(
        domain=["different methods", "seeds of one method"],
        range=[charts.PALETTE[0], charts.PALETTE[4]],
    )
    title = "gain over the best member"
    base = alt.Chart().encode(y=charts.names_down("name", [value["name"] for value in values]))
    gain = charts.across("gain", title)
    dots = base.mark_point(size=60, filled=True, opacity=1).encode(
        x=gain,
        color=alt.Color("kind:N", scale=kinds, title=None, legend=alt.Legend(columns=1)),
        shape=alt.Shape("kind:N", title=None, scale=alt.Scale(
            domain=list(kinds.domain), range=["circle", "diamond"])),
        tooltip=[
            tip("ensemble", "ensemble"), tip("rule", "rule"), tip("gain", "gain", "+.1%"),
            tip("low", "from", "+.1%"), tip("high", "to", "+.1%"),
            tip("accuracy", "accuracy", ".1%"), tip("passes", "passes an image", "d"),
        ],
    )  # fmt: skip
    bars = base.mark_rule(strokeWidth=2, opacity=0.8).encode(
        x=charts.across("low", title), x2="high:Q", color=alt.Color("kind:N", scale=kinds)
    )
    zero = alt.Chart().mark_rule(color=charts.GREY, strokeDash=[3, 3]).encode(x=alt.datum(0.0))
    return charts.finish(
        zero,
        bars,
        dots,
        values=values,
        height=charts.ROW_HEIGHT * len(values),
        description="Gain in test accuracy of each ensemble over its best member, with intervals.",
    )


def _said(rows: Sequence[Row]) -> list[str]:
    """The best ensemble of methods by the mean of probabilities, and the best of seeds."""
    means = [row for row in rows if row["rule"] == RULES[1]]
    said = []
    for control, what in ((False, "of different methods"), (True, "of seeds")):
        able = [row for row in means if row["control"] is control]
        if able:
            best = max(able, key=lambda row: row["gain_over_best"]["value"])
            said.append(
                f"the largest gain {what} is {points(best['gain_over_best'], signed=True)} points "
                f"({best['ensemble']})"
            )
    if not said:
        return []
    line = "; ".join(said)
    return [f"By the mean of probabilities {line}."]


def _table(rows: Sequence[Row]) -> Table:
    cells = tuple(
        (
            row["ensemble"],
            row["rule"],
            points(row["accuracy"]),
            points(row["gain_over_best"], signed=True),
            points(row["gain_over_mean"], signed=True),
            str(row["passes"]),
            f"{row['trainable']:,}",
            str(row["seeds"]),
        )
        for row in rows
    )
    columns = (
        *("ensemble", "rule", "accuracy % (95 %)", "over the best", "over the mean"),
        *("passes", "parameters", "drawn from seeds"),
    )
    return Table("Ensembles", columns, cells, ("ensemble", "rule"))
