"""The sections of the report, in the order of the page.

A section is a module with `section(study: Material) -> Section | None`; None where the study has
no data for it. Adding one is a file here and a name in this list.
"""

from __future__ import annotations

from collections.abc import Sequence

from foldtune.report.material import Material
from foldtune.report.section import Section
from foldtune.report.sections import (
    accuracy,
    agreement,
    calibration,
    costs,
    ensembles,
    gallery,
    leaderboard,
    ledger,
    ranking,
    runs,
    shift,
    training,
    tuning,
    wise,
)
from foldtune.report.sections.judgement import classes, confusion, numbers, reliability, thresholds
from foldtune.tasks.kinds import SingleLabel

ORDER = (
    leaderboard,
    accuracy,
    ranking,
    confusion,
    classes,
    thresholds,
    reliability,
    numbers,
    tuning,
    training,
    agreement,
    gallery,
    ensembles,
    wise,
    shift,
    calibration,
    costs,
    ledger,
    runs,
)


# What asks which of several classes an image is called: it has no meaning for another task.
_OF_CLASSES = (agreement, gallery, ensembles, wise, shift, calibration)
# What shows the score that chooses, whatever it is called.
_OF_THE_SCORE = (leaderboard, accuracy, ranking, tuning, training, costs)
# What a study has only where somebody asked for it, and how.
_ASKED = {
    "wise": "weight-space ensembles (foldtune wise ... --json > STUDY/wise/NAME.json)",
    "shift": "accuracy under shifts (foldtune eval ... --shift NAME=PATH --json > "
    "STUDY/shift/NAME.json)",
}


def absent(found: Sequence[Section], study: Material) -> str:
    """A sentence about the sections that the study has no data for; none where it has all, and of
    a task for which they have no meaning."""
    if _other(study):
        return ""
    there = {section.key for section in found}
    lacking = [told for key, told in _ASKED.items() if key not in there]
    return f"Not in this study yet: {'; '.join(lacking)}." if lacking else ""


def sections(study: Material) -> list[Section]:
    """Those that the study has data for."""
    order = [module for module in ORDER if not (_other(study) and module in _OF_CLASSES)]
    found = []
    for module in order:
        section = module.section(study)
        if section is not None:
            found.append(section.rename_score(study.metric) if module in _OF_THE_SCORE else section)
    return found


def _other(study: Material) -> bool:
    """Whether the labels are something else than one of several classes."""
    return study.panel is not None and not isinstance(study.panel.task, SingleLabel)
