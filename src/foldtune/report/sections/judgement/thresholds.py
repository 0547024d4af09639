"""Precision and recall over thresholds, and thresholds that validation chose."""

from __future__ import annotations

from typing import Any

import altair as alt

from foldtune.analysis.judgement.thresholds import PRECISION, curves, table
from foldtune.report import charts
from foldtune.report.cells import plain
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table
from foldtune.report.sections.judgement import names_of, percent, shown_method
from foldtune.tasks.kinds import Ordinal, Regression
from foldtune.tasks.metrics import Judged

Row = dict[str, Any]
_MOST = 8  # names of a drawn curve: those with fewest images, which a mean hides


def section(study: Material) -> Section | None:
    panel, name, found = study.panel, shown_method(study), study.predictions
    if panel is None or name is None or found is None:
        return None
    if isinstance(panel.task, Regression | Ordinal):
        return None
    names, test = list(names_of(study)), panel.with_labels(panel.runs[name][0])
    if not len(test.both):
        return None
    few = sorted(test.both.tolist(), key=lambda k: (int(test.marks[:, k].sum()), k))[:_MOST]
    drawn = {names[k] for k in few}
    precision, roc = curves(test, names)
    palette = dict(zip(sorted(drawn), charts.PALETTE * _MOST, strict=False))
    figures = (
        _figure("precision-recall", "Precision and recall", "recall", "precision",
                [row for row in precision if row["label"] in drawn], palette),
        _figure("roc", "True and false positives", "false", "true",
                [row for row in roc if row["label"] in drawn], palette),
    )  # fmt: skip
    said = "No thresholds are told: the chosen trial kept no validation logits."
    tables: tuple[Table, ...] = ()
    kept = found.validation.get(name)
    if kept is not None and found.validation_labels is not None:
        chosen_on = Judged(panel.task, kept.logits, found.validation_labels)
        tables = (_table(table(chosen_on, test, names)),)
        said = (
            "Thresholds are chosen on the validation logits of the chosen trial, and judged on the "
            "test images: of the best F1, and of the most recall at a precision of "
            f"{100 * PRECISION:.0f} %."
        )
    more = "" if len(test.both) <= _MOST else f" The {_MOST} with fewest test images are drawn."
    return Section(
        "thresholds", "Thresholds",
        (f"Each class or label against all others, of {name}, first seed.{more}", said),
        figures, tables,
    )  # fmt: skip


def _figure(
    key: str, title: str, across: str, up: str, values: list[Row], palette: dict[str, str]
) -> Figure:
    choice, faded = charts.pick_by_legend()
    unit = alt.Scale(domain=[0, 1])
    lines = alt.Chart().mark_line(strokeWidth=2, interpolate="step-after").encode(
        x=charts.across(across, across, scale=unit),
        y=alt.Y(f"{up}:Q", title=up, axis=alt.Axis(format="%"), scale=unit),
        color=charts.line(palette), strokeDash=charts.dash(palette), opacity=faded,
        order=alt.Order(f"{across}:Q"),
        tooltip=[tip("label", "class"), tip(across, across, ".1%"), tip(up, up, ".1%")],
    )  # fmt: skip
    chart = charts.finish(
        lines.add_params(choice), values=values,
        description=f"{title} of each class or label over all thresholds.",
    )  # fmt: skip
    columns = {name: name for name in ("label", across, up)}
    return Figure(key, title, chart, columns, wide=False)


def _table(rows: list[Row]) -> Table:
    cells = tuple(
        (
            row["label"], f"{row['images']:,}",
            *(cell for kind in ("f1", "wanted") for cell in (
                plain(row[f"{kind}_threshold"], 3), percent(row[f"{kind}_precision"]),
                percent(row[f"{kind}_recall"]),
            )),
        )
        for row in rows
    )  # fmt: skip
    wanted = f"{100 * PRECISION:.0f} %"
    columns = (
        "class", "test images", "of the best F1", "precision %", "recall %",
        f"of a precision of {wanted}", "its precision %", "its recall %",
    )  # fmt: skip
    return Table("Thresholds", columns, cells, ("class",))
