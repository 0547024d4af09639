"""The chosen method's answers: which classes are confused, each class, thresholds, numbers."""

from __future__ import annotations

from collections.abc import Sequence

from foldtune.report.material import Material
from foldtune.tasks.kinds import MultiLabel, Regression


def shown(study: Material) -> str | None:
    """The method whose answers are shown: the chosen one, else the first that was tested."""
    if study.panel is None:
        return None
    best = study.best["label"] if study.best else ""
    return best if best in study.panel.names else study.panel.names[0]


def names_of(study: Material) -> Sequence[str]:
    """The names of what is predicted; numbers where they are not known."""
    assert study.panel is not None
    member = study.panel.members[0]
    many = study.panel.task.probabilities(member.logits[:1]).shape[1]
    told = study.asked.get("classes")
    if isinstance(told, list) and len(told) == many:
        return [str(name) for name in told]
    return [f"class {k}" for k in range(many)]


def of_classes(study: Material) -> bool:
    """Whether an image has one of several classes."""
    return study.panel is not None and not isinstance(study.panel.task, MultiLabel | Regression)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
