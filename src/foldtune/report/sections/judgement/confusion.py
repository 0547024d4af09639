"""Which classes the chosen method takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from foldtune.analysis.judgement.confusion import (
    cells,
    confusion,
    examples,
    in_order,
    largest,
    shares,
)
from foldtune.analysis.judgement.unsure import left_out
from foldtune.report import charts
from foldtune.report.charts import LITTLE_TO_MUCH, tip
from foldtune.report.material import Material, readable
from foldtune.report.section import Figure, Section, Table
from foldtune.report.sections.judgement import names_of, of_classes, shown_method
from foldtune.report.thumbnails import thumbnail
from foldtune.report.words import join_names

Row = dict[str, Any]
_MOST = 40  # classes of a drawn matrix


def section(study: Material) -> Section | None:
    panel, name = study.panel, shown_method(study)
    if panel is None or name is None or not of_classes(study):
        return None
    names, counts = names_of(study), confusion(panel, name)
    order = in_order(counts, panel)
    worst = largest(counts, names)
    held = [k for k in order if counts[k].sum() or counts[:, k].sum()]
    figures: tuple[Figure, ...] = ()
    if len(held) <= _MOST:
        figures = (_figure(counts, [k for k in order if k in held], names),)
    rows = tuple(
        (one["truth"], one["said"], f"{one['images']:.1f}", f"{100 * one['share']:.1f}")
        for one in worst
    )
    columns = ("truth", "called", "images", "% of the class")
    tables = (Table("Largest confusions", columns, rows, ("truth", "called")),) if rows else ()
    said = _sentence(name, worst)
    return Section(
        "confusion", "Which classes are taken for which",
        (
            f"Test images of each class, by row, and what {name} calls them, by column, as shares "
            "of the row; seeds together. Classes that are taken for one another are neighbours.",
            said, _unsure(study, name),
        ),
        figures, tables, said, "confusions.html", {"confusions": _examples(study, name, counts)},
    )  # fmt: skip


def _examples(study: Material, name: str, counts: np.ndarray) -> list[Row]:
    """Of the largest confusions some pictures, where the study's images are found."""
    assert study.panel is not None
    found, names = study.pictures, names_of(study)
    told: list[Row] = []
    for truth, said in cells(counts):
        images = []
        for place in examples(study.panel, name, truth, said):
            row = int(study.images[place])
            if (drawn := thumbnail(found, row)) is not None:
                images.append({"n": readable(found.names.get(row, f"image {row}")), "t": drawn})
        if images:
            told.append({"truth": names[truth], "said": names[said], "images": images})
    return told


def _sentence(name: str, worst: Sequence[Row]) -> str:
    if not worst:
        return f"{name} takes no test image for another class."
    told = [
        f"{one['truth']} for {one['said']} ({100 * one['share']:.0f} % of its images)"
        for one in worst[:3]
    ]
    return f"{name} most often takes {join_names(told)}."


def _unsure(study: Material, name: str) -> str:
    assert study.panel is not None
    whole, *rest = left_out(study.panel, name)
    told = [
        f"the {100 * one['left_out']:.0f} % least sure: {100 * one['accuracy']:.1f} %"
        for one in rest
    ]
    return (
        f"Of all images {name} is right about {100 * whole['accuracy']:.1f} %; leave out "
        f"{'; '.join(told)} of the rest."
    )


def _figure(counts: np.ndarray, order: Sequence[int], names: Sequence[str]) -> Figure:
    share = shares(counts)
    values = [
        {"truth": names[i], "called": names[j], "share": float(share[i, j]),
         "images": float(counts[i, j])}
        for i in order for j in order
    ]  # fmt: skip
    ordered = [names[k] for k in order]
    axis = alt.Axis(labelLimit=130, labelAngle=-50, domain=False, ticks=False, grid=False)
    base = alt.Chart().encode(
        x=alt.X("called:N", title="called", axis=axis, **charts.in_order(ordered)),
        y=charts.names_down("truth", ordered),
        tooltip=[
            tip("truth", "truth"), tip("called", "called"), tip("share", "share", ".1%"),
            tip("images", "images", ".1f"),
        ],
    )  # fmt: skip
    scale = alt.Scale(range=list(LITTLE_TO_MUCH), domain=[0, 1])
    cells = base.mark_rect().encode(color=alt.Color("share:Q", title="share", scale=scale))
    chart = charts.finish(
        cells, values=values, height=max(160, charts.ROW_HEIGHT * len(order)),
        description="Share of the test images of each class that are called each class.",
    )  # fmt: skip
    columns = {key: key for key in ("truth", "called", "share", "images")}
    return Figure("confusion", "Confusion", chart, columns, limit=760)
