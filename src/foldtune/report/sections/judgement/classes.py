"""Recall and precision of each class or label."""

from __future__ import annotations

from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import Estimate
from foldtune.analysis.judgement.classes import parts, per_class
from foldtune.report.material import Material
from foldtune.report.section import Section, Table
from foldtune.report.sections.judgement import names_of, percent, shown_method
from foldtune.tasks.kinds import Regression, SingleLabel
from foldtune.tasks.metrics import METRICS, values

_MOST = 200  # classes of the table


def section(study: Material) -> Section | None:
    panel, name = study.panel, shown_method(study)
    if panel is None or name is None or isinstance(panel.task, Regression):
        return None
    rows = per_class(panel, name, names_of(study), study.groups)
    known = sorted(
        (row for row in rows if row["recall"]["value"] is not None),
        key=lambda row: row["recall"]["value"],
    )
    shown_rows = tuple(
        (
            row["class"],
            f"{row['images']:,}",
            _with_interval(row["recall"]),
            _with_interval(row["precision"]),
        )
        for row in known[:_MOST]
    )
    columns = ("class", "images", "recall %", "precision %")
    worst = known[0] if known else None
    said = ""
    if worst is not None:
        said = (
            f"Of the classes {worst['class']} is found least: {percent(worst['recall']['value'])} "
            f"% of its {worst['images']:,} test images."
        )
    uneven = parts(panel, name) if isinstance(panel.task, SingleLabel) else None
    warned = ""
    if uneven is not None:
        warned = (
            f"Of images {percent(uneven['images'])} % are right, but over classes the mean is "
            f"{percent(uneven['classes'])} % ({uneven['least']} to {uneven['most']} images a "
            "class): one figure hides the other. --select balanced_accuracy chooses by classes."
        )
    return Section(
        "classes", "Each class",
        (
            f"Of {name}: recall, the share of a class's images that are called it, and precision, "
            "the share of what is called it that is, with 95 % intervals over images and seeds; "
            "what is found least stands first.",
            said, warned,
        ),
        (), (Table("Each class", columns, shown_rows, ("class",)), _macro(study, name)),
        warned,
    )  # fmt: skip


def _with_interval(value: Estimate) -> str:
    if value["value"] is None:
        return "–"
    if value["low"] is None:
        return percent(value["value"])
    return f"{percent(value['value'])} ({percent(value['low'])} to {percent(value['high'])})"


def _macro(study: Material, name: str) -> Table:
    """Every metric that has a meaning for the task, the mean over seeds, of every method."""
    panel = study.panel
    assert panel is not None
    names = list(dict(values(panel.with_labels(panel.members[0]))))
    rows: list[tuple[Any, ...]] = []
    for label, group in panel.runs.items():
        each = [dict(values(panel.with_labels(member))) for member in group]
        means = [float(np.mean([one[metric] for one in each])) for metric in names]
        rows.append((label, *(f"{value:.3f}" for value in means)))
    columns = ("method", *(METRICS[metric].title for metric in names))
    return Table("Metrics of each method", columns, tuple(rows))
