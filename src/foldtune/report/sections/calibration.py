"""How far confidence can be believed: reliability, and the error of what one is sure of."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import altair as alt
import numpy as np
import torch

from foldtune.analysis.panel import Member
from foldtune.judging.calibration import reliability, risk_by_confidence
from foldtune.report import charts
from foldtune.report.cells import plain
from foldtune.report.charts import tip
from foldtune.report.material import Material
from foldtune.report.section import Figure, Section, Table

Row = dict[str, Any]
_POINTS = 40  # of a drawn risk-coverage curve
_FEW = 10  # images; the accuracy of a bin with fewer is not drawn


def section(study: Material) -> Section | None:
    panel = study.panel
    if panel is None:
        return None
    bins, curves, figures = [], [], []
    for name, group in panel.runs.items():
        found = _judge(group, panel.labels)
        bins += [{"label": name, **row} for row in found["bins"]]
        curves += [{"label": name, **row} for row in found["curve"]]
        figures.append({"label": name, **found["figures"], **_stored_figures(study, group)})
    palette = charts.among(study.palette, panel.names)
    best = min(figures, key=lambda row: row["ece"])
    said = f"{best['label']} is best calibrated, with an expected calibration error of "
    bin_columns = {key: key for key in ("label", "confidence", "accuracy", "images")}
    curve_columns = {key: key for key in ("label", "coverage", "risk")}
    return Section(
        "calibration",
        "Calibration",
        (
            "Reliability: accuracy of the test images in each of 15 bins of confidence that holds "
            f"{_FEW} or more, seeds together; on the diagonal confidence tells the truth, below it "
            "is too high. Risk and coverage: the error among the most confident share of images, "
            "what is left to a person at a given risk.",
            f"{said}{100 * best['ece']:.1f} points.",
        ),
        (
            Figure(
                "reliability",
                "Reliability",
                reliability_chart(bins, palette),
                bin_columns,
                wide=False,
            ),
            Figure(
                "risk-coverage",
                "Risk and coverage",
                risk_chart(curves, palette),
                curve_columns,
                wide=False,
            ),
        ),
        (_table(figures),),
    )


def reliability_chart(values: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart:
    choice, faded = charts.pick_by_legend()
    unit = alt.Scale(domain=[0, 1])
    base = alt.Chart().encode(
        x=charts.across("confidence", "confidence", scale=unit),
        y=alt.Y("accuracy:Q", title="accuracy", axis=alt.Axis(format="%"), scale=unit),
        color=charts.line(palette),
        opacity=faded,
        tooltip=[
            tip("label", "method"), tip("confidence", "confidence", ".1%"),
            tip("accuracy", "accuracy", ".1%"), tip("images", "images", ","),
        ],
    )  # fmt: skip
    truth = alt.Chart().mark_rule(color=charts.GREY, strokeDash=[3, 3]).encode(
        x=alt.datum(0), y=alt.datum(0), x2=alt.datum(1), y2=alt.datum(1)
    )  # fmt: skip
    return charts.finish(
        truth,
        base.mark_line(strokeWidth=1.5).encode(strokeDash=charts.dash(palette)).add_params(choice),
        base.mark_point(size=28, filled=True),
        values=values,
        description="Accuracy by confidence of each method, in 15 bins, beside the diagonal of "
        "perfect calibration.",
    )


def risk_chart(values: Sequence[Row], palette: dict[str, str]) -> alt.LayerChart:
    choice, faded = charts.pick_by_legend()
    base = alt.Chart().encode(
        x=charts.across("coverage", "share of images answered", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("risk:Q", title="error among them", axis=alt.Axis(format="%")),
        color=charts.line(palette),
        opacity=faded,
        tooltip=[
            tip("label", "method"), tip("coverage", "answered", ".0%"), tip("risk", "error", ".1%")
        ],
    )  # fmt: skip
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=charts.dash(palette))
    return charts.finish(
        lines.add_params(choice),
        values=values,
        description="Error among the most confident images of each method, by the share of images "
        "answered.",
    )


def _judge(group: Sequence[Member], labels: np.ndarray) -> Row:
    confidence = [torch.from_numpy(member.confidence) for member in group]
    wrong = [torch.from_numpy(member.predictions != labels) for member in group]
    pairs = list(zip(confidence, wrong, strict=True))
    risk = torch.stack([risk_by_confidence(c, w) for c, w in pairs]).mean(0).numpy()
    # The first few images of the curve are noise: it starts where one percent is answered.
    at = np.unique(np.linspace(len(risk) // 100, len(risk) - 1, _POINTS).astype(int))
    together = reliability(torch.cat(confidence), torch.cat(wrong))
    return {
        "bins": [row for row in together if row["images"] >= _FEW],
        "curve": [{"coverage": (n + 1) / len(risk), "risk": float(risk[n])} for n in at.tolist()],
        "figures": {
            "ece": fmean(_error(reliability(c, w)) for c, w in pairs),
            "aurc": float(risk.mean()),
            "accuracy": 1 - float(risk[-1]),
            "confidence": float(torch.cat(confidence).mean()),
        },
    }


def _error(bins: Sequence[Row]) -> float:
    images = sum(row["images"] for row in bins)
    off = (row["images"] * abs(row["accuracy"] - row["confidence"]) for row in bins)
    error: float = float(sum(off)) / images
    return error


def _stored_figures(study: Material, group: Sequence[Member]) -> Row:
    """Figures that the bench computed when it tested the runs; None for rows without."""
    runs = {member.run for member in group}
    tests = [row.get("test") or {} for row in study.rows if row["run"] in runs]
    known = [test for test in tests if "nll" in test and "brier" in test]
    if not known:
        return {"nll": None, "brier": None}
    return {key: fmean(test[key] for test in known) for key in ("nll", "brier")}


def _table(figures: Sequence[Row]) -> Table:
    rows = tuple(
        (
            row["label"], f"{100 * row['confidence']:.1f}", f"{100 * row['accuracy']:.1f}",
            f"{100 * row['ece']:.1f}",
            *(plain(row[key], 3) for key in ("nll", "brier", "aurc")),
        )
        for row in sorted(figures, key=lambda row: row["ece"])
    )  # fmt: skip
    columns = ("method", "mean confidence %", "accuracy %", "ECE, points", "nll", "Brier", "AURC")
    return Table("Calibration", columns, rows)
