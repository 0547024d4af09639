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
from foldtune.study.results.analyses import choices

Row = dict[str, Any]
_COLUMNS = ("ensemble", "rule", "gain", "low", "high", "accuracy", "passes")
_SHORT = {"probabilities": "probs"}  # names beside the rows must leave room on a phone


def section(study: Material) -> Section | None:
    found = study.predictions
    if found is None or (len(found.panel.names) < 2 and len(found.panel.members) < 2):
        return None
    chosen = choices(found) if len(found.panel.names) > 1 else []
    rows = ensembles(found.panel, chosen, found.winner, found.groups)
    figure = Figure(
        "ensembles",
        "Gain of ensembles",
        gain_chart(rows, found.winner),
        {key: key for key in _COLUMNS},
    )
    return Section(
        "ensembles",
        "Ensembles",
        (
            f"Points of test accuracy that an ensemble gains over {_base(found.winner)} (95 % over "
            "new images and, with several seeds, new seeds, each ensemble against the run of its "
            "own seed). Diamonds are the control, as many seeds of one method, whose intervals "
            "hold these seeds; of these the mean of probabilities alone is drawn.",
            *(_sentences(rows, found.winner)),
        ),
        (figure,),
        (_table(rows),),
        next(iter(_sentences(rows, found.winner)), ""),
    )


def _base(winner: str | None) -> str:
    """Over what gains are drawn and told."""
    return "its members' mean" if winner is None else f"{winner}, which validation chose"


def _gain(row: Row, winner: str | None) -> Row:
    found: Row = row["gain_over_mean"] if winner is None else row["gain"]
    return found


def gain_chart(rows: Sequence[Row], winner: str | None) -> alt.LayerChart:
    values = [
        {
            "name": f"{row['ensemble']}: {_SHORT.get(row['rule'], row['rule'])}",
            "ensemble": row["ensemble"],
            "rule": row["rule"],
            "kind": "seeds of one method" if row["control"] else "different methods",
            "gain": _gain(row, winner)["value"],
            "low": _gain(row, winner)["low"],
            "high": _gain(row, winner)["high"],
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
    # No method's name in an axis: it may be long, and one with markup kept the chart from drawing.
    title = f"gain over {'the members' if winner is None else 'the chosen method'}"
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
        description=f"Gain in test accuracy of each ensemble over {_base(winner)}, with intervals.",
    )


def _sentences(rows: Sequence[Row], winner: str | None) -> list[str]:
    """What the ensembles of methods gain, and the best of those of seeds, by mean probabilities.

    Ensembles of methods are all told: the one with the largest gain on the test split would be
    chosen there.
    """
    means = [row for row in rows if row["rule"] == RULES[1]]
    mixed = [row for row in means if not row["control"]]
    own = [row for row in means if row["control"] and winner in row["members"]]
    told = [
        f"{row['ensemble']} {points(_gain(row, winner), signed=True)}" for row in [*mixed, *own]
    ]
    if not told:
        return []
    return [f"Points gained over {_base(winner)}, by mean probabilities: {'; '.join(told)}."]


def _table(rows: Sequence[Row]) -> Table:
    cells = tuple(
        (
            row["ensemble"],
            row["rule"],
            points(row["accuracy"]),
            points(row["gain"], signed=True),
            points(row["gain_over_mean"], signed=True),
            str(row["passes"]),
            f"{row['trainable']:,}",
            str(row["seeds"]),
        )
        for row in rows
    )
    columns = (
        *("ensemble", "rule", "accuracy % (95 %)", "over the chosen", "over the mean"),
        *("passes", "parameters", "seeds"),
    )
    return Table("Ensembles", columns, cells, ("ensemble", "rule"))
