"""A study in a notebook: its page beside the code, and its charts as Altair's."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Protocol

from altair.utils.schemapi import debug_mode

from foldtune.errors import InputError
from foldtune.report.material import Material
from foldtune.report.page import write_report
from foldtune.report.sections import sections
from foldtune.study.results.artefacts import PAGE


class Studied(Protocol):
    """What `compare` returns."""

    @property
    def folder(self) -> Path: ...


class Page:
    """A page in a notebook's cell."""

    def __init__(self, path: Path, height: int) -> None:
        self.path, self.height = path, height

    def __repr__(self) -> str:
        return f"Page({self.path})"

    def _repr_html_(self) -> str:
        # Its own document: neither its style nor its script touches the notebook's.
        page = escape(self.path.read_text(encoding="utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" style="width:100%;height:{self.height}px;border:0"></iframe>'
        )


def show(study: str | Path | Studied, *, height: int = 700) -> Page:
    """The page of a study folder, or of what `compare` returned, in a notebook's cell.

    It is written where it is not there yet; height: of the cell, in pixels.
    """
    folder = _folder(study)
    path = folder / PAGE
    return Page(path if path.is_file() else write_report(folder), height)


def charts(study: str | Path | Studied) -> dict[str, Any]:
    """The charts of a study's page by name, as Altair charts: `charts(found)["accuracy"]`."""
    with debug_mode(False):
        found = sections(Material.read(_folder(study)))
    drawn = {figure.name: figure.chart for section in found for figure in section.figures}
    if not drawn:
        raise InputError(f"{_folder(study)} has nothing to draw yet: no run has finished")
    return drawn


def _folder(study: str | Path | Studied) -> Path:
    return Path(study) if isinstance(study, str | Path) else study.folder
