"""A tuning judged away from home: on other domains and on corrupted copies of its own images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from foldtune import gate
from foldtune.analysis.effective import fit_baseline
from foldtune.analysis.frontier import Point
from foldtune.data import ImageData
from foldtune.data.splits import WHOLE
from foldtune.errors import InputError
from foldtune.judging.shift import Target, judge, target_of, top1
from foldtune.training.batches import Prepare
from foldtune.tunings.judging import Known


def judge_shifts(
    model: nn.Module,
    home: Target,
    targets: Sequence[Target],
    prepare: Prepare,
    baselines: Mapping[str, Sequence[Point]] | None = None,
) -> list[dict[str, Any]]:
    """One row a target: accuracy there (`top1`), at home over the same classes (`home`), and the
    drop between; where there are baselines for it, `predicted` and `effective` robustness.

    Raises InputError for baselines of a shift that is not judged.
    """
    lines = {name: fit_baseline(points) for name, points in (baselines or {}).items()}
    for name in lines:
        if name not in {t.name for t in targets}:
            raise InputError(
                f"the baselines have a column {name}, which is none of the shifts: "
                f"{', '.join(t.name for t in targets)}; name the shift so, --shift {name}=PATH"
            )
    at_home: dict[tuple[int, ...] | None, float] = {}
    rows = []
    for target in targets:
        if target.present not in at_home:
            at_home[target.present] = top1(model, home.among(target.present), prepare)
        metrics, same = judge(model, target, prepare), at_home[target.present]
        row: dict[str, Any] = {
            "shift": target.name,
            "images": len(target.rows),
            "trained_on": target.trained_on,
            "classes": len(target.present) if target.present else None,
            "top1": metrics.pop("top1"),
            "home": same,
        }
        row["drop"] = same - row["top1"]
        if target.name in lines:
            row["predicted"] = lines[target.name].predict(same)
            row["effective"] = row["top1"] - row["predicted"]
        rows.append(row | metrics)
    return rows


def corruption_means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean accuracy over the severities of each corruption, then `mean` over the corruptions.

    No mCE: that weighs each by AlexNet's errors on ImageNet, which mean nothing elsewhere.
    """
    by_name: dict[str, list[float]] = {}
    for row in rows:
        by_name.setdefault(str(row["shift"]).partition(":")[0], []).append(row["top1"])
    means = {name: float(np.mean(values)) for name, values in by_name.items()}
    return means | {"mean": float(np.mean(list(means.values())))} if means else {}


def load_targets(
    asked: Sequence[str],
    load: Callable[[str], ImageData],
    classes: Sequence[str],
    mapping: Mapping[str, str],
    known: Known,
) -> list[Target]:
    """The targets that `NAME=PATH` name; PATH alone is its own name.

    All images of a source that gives no splits are judged, else its test split; none that the
    tuning was trained on. Raises InputError for two of one name, and where no image is left.
    """
    targets = []
    for text in asked:
        name, _, path = text.rpartition("=")
        data = load(path)
        rows = _rows(data)
        seen = known.is_seen(data, rows)
        if seen.all():
            raise InputError(f"all {len(rows)} images of {name or data.name} were trained on")
        target = target_of(name or data.name, data, rows[~seen], classes, mapping)
        targets.append(replace(target, trained_on=int(seen.sum())))
        if [t.name for t in targets].count(targets[-1].name) > 1:
            raise InputError(f"two shifts are called {targets[-1].name}; write --shift NAME=PATH")
    return targets


def read_mapping(path: Path) -> dict[str, str]:
    """From their class names to ours: a JSON object, or a CSV of two columns without a header.

    An empty second cell (in JSON: null) leaves the class's images out.
    """
    if not path.is_file():
        raise InputError(f"no mapping of classes at {path}; a CSV with lines 'their class,ours'")
    text = path.read_text("utf-8-sig")
    if path.suffix == ".json":
        names = gate.mapping_of(gate.nullable(gate.text()))
        told = gate.check_value(gate.parse(text, path), names, f"{path} is no JSON object of names")
        return {k: v or "" for k, v in told.items()}
    found = {}
    for line, row in enumerate(csv.reader(text.splitlines()), 1):
        if not row:
            continue
        if len(row) != 2:
            raise InputError(f"{path} line {line} has {len(row)} cells; 'their class,our class'")
        found[row[0].strip()] = row[1].strip()
    return found


def _rows(data: ImageData) -> np.ndarray:
    drawn_here = str(data.facts.get("split_rule", "")).startswith(
        ("stratified", "by groups", WHOLE)
    )
    given = [data.splits[name] for name in ("test", "val") if len(data.splits[name])]
    return data.split(*data.splits) if drawn_here or not given else given[0]
