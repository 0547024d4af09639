"""The charts of the page as files for a paper: SVG, PNG and PDF, black on white, and their data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from foldtune.errors import NotInstalled
from foldtune.report.cells import as_csv
from foldtune.report.charts import PAPER
from foldtune.report.section import Figure, Section
from foldtune.study.results.rowfile import replace

_WIDTH, _HALF = 640, 420
_DOTS = 300  # an inch, of the PNG


def write_charts(sections: Sequence[Section], folder: Path) -> list[Path]:
    """Each chart as `<name>.svg`, `.png`, `.pdf` and `.csv`; the files, in the page's order."""
    vl_convert = converter()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in (figure for section in sections for figure in section.figures):
        told = on_paper(figure)
        svg = vl_convert.vegalite_to_svg(told, vl_version=vega_lite())
        files = {
            "svg": svg.encode(),
            "png": vl_convert.svg_to_png(svg, ppi=_DOTS),
            "pdf": vl_convert.svg_to_pdf(svg),
            "csv": as_csv(tuple(figure.columns), figure.rows).encode(),
        }
        for suffix, data in files.items():
            path = folder / f"{figure.name}.{suffix}"
            replace(path, data)
            written.append(path)
    return written


def converter() -> Any:
    """The module vl_convert. Raises NotInstalled."""
    try:
        import vl_convert
    except ImportError:
        raise NotInstalled("a report", "vl-convert-python", "report") from None
    return vl_convert


def on_paper(figure: Figure) -> dict[str, Any]:
    """The specification with a width of its own and dark text."""
    told = copy.deepcopy(figure.specification)
    width = _WIDTH if figure.wide else _HALF
    told["width"] = min(width, figure.limit or width)
    for key, value in PAPER.items():
        known = told["config"].get(key)
        told["config"][key] = {**known, **value} if isinstance(known, dict) else value
    return told


def vega_lite() -> str:
    """The Vega-Lite version that Altair writes, as vl-convert names it: v6.4.1 is 6.4."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
