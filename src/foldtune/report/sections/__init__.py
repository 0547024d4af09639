"""The sections of the report, in the order of the page.

A section is a module with `section(study: Material) -> Section | None`; None where the study has
no data for it. Adding one is a file here and a name in this list.
"""

from __future__ import annotations

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
from foldtune.report.sections.judgement import classes, confusion, numbers, thresholds
from foldtune.tasks.task import SingleLabel

ORDER = (
    leaderboard,
    accuracy,
    ranking,
    confusion,
    classes,
    thresholds,
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


def sections(study: Material) -> list[Section]:
    """Those that the study has data for."""
    other = study.panel is not None and not isinstance(study.panel.task, SingleLabel)
    order = [module for module in ORDER if not (other and module in _OF_CLASSES)]
    found = (module.section(study) for module in order)
    return [section for section in found if section is not None]
