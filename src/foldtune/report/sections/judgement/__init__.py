"""The chosen method's answers: which classes are confused, each class, thresholds, numbers."""

from __future__ import annotations

from collections.abc import Sequence

from foldtune.analysis.judgement.classes import class_names
from foldtune.report.material import Material
from foldtune.tasks.kinds import MultiLabel, Regression


def shown_method(study: Material) -> str | None:
    """The method whose answers are shown: the chosen one, else the first that was tested."""
    if study.panel is None:
        return None
    best = study.best["label"] if study.best else ""
    return best if best in study.panel.names else study.panel.names[0]


def names_of(study: Material) -> Sequence[str]:
    """The names of what is predicted; numbers where they are not known."""
    assert study.panel is not None
    return class_names(study.panel, study.asked.get("classes"))


def of_classes(study: Material) -> bool:
    """Whether an image has one of several classes."""
    return study.panel is not None and not isinstance(study.panel.task, MultiLabel | Regression)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
