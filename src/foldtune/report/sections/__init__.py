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

ORDER = (
    leaderboard,
    accuracy,
    ranking,
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


def sections(study: Material) -> list[Section]:
    """Those that the study has data for."""
    found = (module.section(study) for module in ORDER)
    return [section for section in found if section is not None]
