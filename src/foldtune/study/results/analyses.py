"""Everything that rows and logits of a finished study tell beyond the leaderboard, in one dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from foldtune.analysis.agreement import agreement, oracle
from foldtune.analysis.bootstrap import DRAWS, resamples
from foldtune.analysis.confident import confident_sets, overlaps, venn
from foldtune.analysis.ensemble import Choice, best_k, ensembles, greedy
from foldtune.analysis.judgement.classes import class_names
from foldtune.analysis.judgement.reliability import by_name
from foldtune.analysis.panel import Panel
from foldtune.errors import unknown_name
from foldtune.study.results.artefacts import unbound_line
from foldtune.study.results.predictions import Predictions, read_predictions
from foldtune.study.results.store import Store
from foldtune.tasks.kinds import Regression, SingleLabel
from foldtune.tasks.metrics import values

Row = dict[str, Any]
_CURVE = 50  # points of a risk-coverage curve that a page draws


def analyse(
    folder: str | Path,
    *,
    most: float = 0.5,
    k: int | None = None,
    three: tuple[str, ...] = (),
    draws: int = DRAWS,
) -> Row:
    """The analyses of one study, JSON-able; each section is explained in docs/analysis.md.

    most: how many most confident predictions are compared, a number or a share of the smallest
    pool; k: size of the ensemble of the best methods on validation (by default 3); three: methods
    of the Venn counts (by default the first three on validation). Raises InputError for a study
    without test logits and for unknown methods.
    """
    found = read_predictions(Path(folder))
    panel = found.panel
    if not isinstance(panel.task, SingleLabel):
        return _of_another_task(folder, found)
    counts = resamples(len(panel.labels), draws, groups=found.groups)
    for name in three:
        if name not in panel.names:
            raise unknown_name("method of this study", name, panel.names)
    return {
        "study": str(folder),
        "images": len(panel.labels),
        "classes": panel.classes,
        "methods": {name: len(group) for name, group in panel.runs.items()},
        "order_on_validation": list(found.order),
        "draws": draws,
        "notes": _notes(found),
        "decision": found.decision and found.decision.as_json(),
        "agreement": agreement(panel, counts, found.groups),
        "oracle": oracle(panel, counts),
        "confident": {
            name: _confident(panel, counts, most, right, three or found.order[:3])
            for name, right in (("right", True), ("wrong", False))
        },
        "ensembles": ensembles(panel, choices(found, k), found.winner, found.groups),
        "calibration": [_calibration(panel, name) for name in panel.names],
        "reliability": _reliability(folder, panel),
    }


def _of_another_task(folder: str | Path, found: Predictions) -> Row:
    """What has a meaning where an image is not of one class: the decision and each metric."""
    panel = found.panel
    figures = []
    for name, group in panel.runs.items():
        each = [dict(values(panel.with_labels(member))) for member in group]
        means = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        figures.append({"method": name, **means})
    said = (
        f"Agreement, oracle, ensembles and calibration ask which class an image is called, and the "
        f"task is {panel.task!r}: left out."
    )
    return {
        "study": str(folder),
        "images": len(panel.labels),
        "methods": {name: len(group) for name, group in panel.runs.items()},
        "order_on_validation": list(found.order),
        "task": repr(panel.task),
        "metric": panel.metric,
        "notes": [said],
        "decision": found.decision and found.decision.as_json(),
        "figures": figures,
        "reliability": {} if isinstance(panel.task, Regression) else _reliability(folder, panel),
    }


def _reliability(folder: str | Path, panel: Panel) -> Row:
    """Of each method the calibration error of each class or label, one against the rest."""
    classes = class_names(panel, Store(Path(folder)).description().get("classes"))
    rows = {name: by_name(panel, name, classes) for name in panel.names}
    return {
        name: [{key: value for key, value in row.items() if key != "bins"} for row in each]
        for name, each in rows.items()
    }


def choices(found: Predictions, k: int | None = None) -> list[Choice]:
    """The ensembles of different methods: all, the best k on validation, greedy on validation."""
    names = found.panel.names
    made = [Choice("all methods", dict.fromkeys(names, 1), "nothing")]
    k = 3 if k is None else k
    if 1 < k < len(names) and _all_validated(found):
        made.append(best_k(found.order, k))
    if found.validation_labels is not None:
        weights = greedy(
            {name: found.validation[name].probabilities for name in found.order},
            found.validation_labels,
        )
        made.append(Choice("greedy", weights, "validation logits of the chosen trials"))
    return made


def _notes(found: Predictions) -> list[str]:
    """What a reader must know of the figures."""
    said = [
        "Intervals of agreement, overlap and oracle cover other test images with the same trained "
        "models, at 95 %."
    ]
    if (line := unbound_line(found.rows)) is not None:
        said.append(f"{line}.")
    single = [name for name, group in found.panel.runs.items() if len(group) < 2]
    if single:
        said.append(
            f"Without a control, having one seed: {', '.join(single)}; compare again with more "
            "--seeds to know what seeds alone differ by."
        )
    if found.validation_labels is None:
        said.append("No greedy ensemble: the chosen trials kept no validation logits.")
    else:
        said.append(
            "The greedy ensemble is chosen on the validation logits of the chosen trials, which "
            "did not train on validation; its members are the final runs, which did."
        )
    return said


def _all_validated(found: Predictions) -> bool:
    return all(e["val_accuracy"] is not None for e in found.board if e["label"] in found.order)


def _confident(
    panel: Panel, counts: np.ndarray, most: float, right: bool, three: tuple[str, ...]
) -> Row:
    k, sets = confident_sets(panel, most, right)
    told: Row = {"k": k, "pairs": overlaps(sets, counts) if k else [], "venn": None}
    if k and len(three) == 3:
        told["venn"] = venn(sets, three)
    return told


def _calibration(panel: Panel, name: str) -> Row:
    """Figures of the method's runs, averaged over seeds, and its mean risk-coverage curve."""
    import torch

    from foldtune.judging.accuracy import accuracy
    from foldtune.judging.calibration import calibration, risk_coverage

    labels = torch.from_numpy(panel.labels)
    figures, curves = [], []
    for member in panel.runs[name]:
        logits = torch.from_numpy(member.logits)
        figures.append(dict(accuracy(logits, labels)) | dict(calibration(logits, labels)))
        curves.append(risk_coverage(logits, labels).numpy())
    risk = np.mean(curves, axis=0)
    at = np.unique(np.linspace(0, len(risk) - 1, _CURVE).astype(int))
    return {
        "method": name,
        **{key: float(np.mean([f[key] for f in figures])) for key in figures[0]},
        "coverage": ((at + 1) / len(risk)).tolist(),
        "risk": risk[at].tolist(),
    }
