"""Weight-space ensembles: the models between a tuning's start and the tuned one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldtune.analysis.frontier import Point, frontier
from foldtune.core.attachment import Attachment
from foldtune.core.interpolation import ways
from foldtune.errors import InputError, unknown_name
from foldtune.judging.shift import Target, top1
from foldtune.training.batches import Prepare

PARTS = ("all", "body", "head")
ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))


@dataclass(frozen=True)
class Sweep:
    """What `sweep` found. ways: how the model gets from start to tuned, see `ways`; rows: one an
    alpha, of accuracies; chosen: the alpha of the best validation accuracy, None if there was no
    validation split that the training had not seen."""

    ways: tuple[str, ...]
    part: str
    rows: tuple[dict[str, Any], ...]
    chosen: float | None


def sweep(
    attachment: Attachment,
    home: Target,
    shifts: Sequence[Target],
    prepare: Prepare,
    *,
    alphas: Sequence[float] = ALPHAS,
    part: str = "all",
    validation: Target | None = None,
) -> Sweep:
    """The accuracy of every alpha at home and under each shift (WiSE-FT, Wortsman et al., CVPR
    2022), with the Pareto frontier of `home` against `mean_shift`.

    alpha 0 is the backbone with the classifier that training started from, bit for bit; alpha 1 is
    the tuned model. part: what moves; the rest stays tuned. Only validation chooses an alpha; of
    equal ones the smallest, which is nearest to the start. The test split and the shifts are read
    at every alpha and choose nothing.

    Raises InputError where nothing lies between (prompts), for an unknown part and no alpha.
    """
    if not alphas:
        raise InputError("no alpha to look at; name some, e.g. --alphas 0 0.5 1")
    if point_of(part, 0.0)[0] != 1.0 and not attachment.interpolates:
        raise InputError(
            f"{attachment.method!r} has no weight-space ensemble: it adds tokens, and there is no "
            "model between two numbers of tokens. Ensemble logits instead, or move --part head"
        )
    rows: list[dict[str, Any]] = []
    for alpha in sorted(set(alphas)):
        with attachment.interpolated(*point_of(part, alpha)) as model:
            row: dict[str, Any] = {"alpha": alpha}
            if validation is not None:
                row["validation"] = top1(model, validation, prepare)
            row["home"] = top1(model, home, prepare)
            row |= {t.name: top1(model, t, prepare) for t in shifts}
        if shifts:
            row["mean_shift"] = float(np.mean([row[t.name] for t in shifts]))
        rows.append(row)
    _mark_frontier(rows)
    chosen = None
    if validation is not None:
        chosen = max(rows, key=lambda r: (r["validation"], -r["alpha"]))["alpha"]
    told = ("weights",) if part == "head" else ways(attachment)
    return Sweep(told, part, tuple(rows), chosen)


def point_of(part: str, alpha: float) -> tuple[float, float]:
    """The alphas of the body and of the classifier. Raises InputError for an unknown part."""
    if part not in PARTS:
        raise unknown_name("part", part, PARTS)
    return {"all": (alpha, alpha), "body": (alpha, 1.0), "head": (1.0, alpha)}[part]


def _mark_frontier(rows: list[dict[str, Any]]) -> None:
    points = {
        r["alpha"]: Point(r["home"], r["mean_shift"], str(r["alpha"]))
        for r in rows
        if "mean_shift" in r
    }
    best = {p.label for p in frontier(points.values())}
    for row in rows:
        if "mean_shift" in row:
            row["frontier"] = str(row["alpha"]) in best
