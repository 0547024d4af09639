"""One self-contained page about a study: computed from its rows, no number typed, no network."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import shlex
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import altair as alt
import jinja2

from foldtune.analysis.ranking import finished, leaderboard
from foldtune.errors import InputError
from foldtune.report import charts, words
from foldtune.study.rowfile import replace
from foldtune.study.store import Store

Row = dict[str, Any]

_TEMPLATES = Path(__file__).parent / "templates"
_LISTED = 2000  # runs in the page's table; rows.jsonl has all
_FIGURE_WIDTH = 640
_COLUMNS = (
    *("label", "method", "winner", "val_accuracy", "val_best_accuracy", "val_best_epoch"),
    *("test_accuracy", "low", "high", "interval", "seeds", "test_images", "indistinguishable"),
    *("trainable", "head", "total", "mergeable", "trials", "diverged", "seconds"),
)
_RUN = ("seed", "val_accuracy", "val_best_accuracy", "val_best_epoch", "test_accuracy", "seconds")


def write_report(folder: Path, *, out: Path | None = None) -> Path:
    """Write `report.html` (or `out`) of a study folder, and `figures/*.svg` beside it.

    The same rows give the same bytes. Each file is put in place at once.
    """
    store = Store(folder)
    rows = _readable(store.rows())
    if not rows:
        raise InputError(f"{folder} has no finished run to report (no rows.jsonl, or an empty one)")
    path = Path(folder) / "report.html" if out is None else Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    asked = _readable(store.description())
    board = leaderboard(rows, asked.get("ties") or "small")
    palette = charts.colours(rows)
    drawn = {
        "accuracy": charts.accuracy_chart(board, palette),
        "training": charts.training_chart(rows, palette),
        "tuning": charts.tuning_chart(rows, palette),
    }
    figures = {name: _svg(chart) for name, chart in drawn.items() if chart is not None}
    (path.parent / "figures").mkdir(exist_ok=True)
    for name, svg in figures.items():
        replace(path.parent / "figures" / f"{name}.svg", svg)
    context = {
        **_context(rows, board, asked),
        "palette": palette,
        "strip": _strip(board),
        "charts": {name: _specification(chart) for name, chart in drawn.items() if chart},
        "still": {name: _data_url("image/svg+xml", svg) for name, svg in figures.items()},
        "folder": shlex.quote(_readable(Path(folder).resolve().name)),
        "digest": hashlib.sha256((Path(folder) / "rows.jsonl").read_bytes()).hexdigest(),
    }
    page = _environment().get_template("page.html").render(context)
    replace(path, page.encode())
    return path


def _readable(value: Any) -> Any:
    """The value without lone surrogates (a file name that is no text), which UTF-8 cannot write."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _context(rows: Sequence[Row], board: Sequence[Row], asked: Row) -> Row:
    """What the template says in words and tables."""
    best = next((entry for entry in board if entry["winner"]), None)
    images = asked.get("images")
    about = {key: asked.get(key, rows[0].get(key)) for key in ("data", "backbone", "pretrained")}
    return {
        "about": {
            **about,
            "classes": rows[0].get("classes"),
            "images": images if isinstance(images, dict) else {},
        },
        "asked": asked,
        "identity": rows[0].get("data_identity"),
        "best": best,
        "board": board,
        "verdict": words.verdict(board),
        "budget": words.budget(rows, board),
        "notes": [*words.notes(rows, board), *words.protocol(asked)],
        "runs": [_run(row) for row in rows[:_LISTED]],
        "total_runs": len(rows),
        "csv": "data:text/csv;charset=utf-8," + quote(_csv(board)),
    }


def _run(row: Row) -> Row:
    recipe = row.get("recipe") or {}
    values = {key: f"{v:.3g}" if isinstance(v, float) else str(v) for key, v in recipe.items()}
    settings = ", ".join(f"{key} {value}" for key, value in values.items())
    return {**dict.fromkeys(_RUN), **row, "settings": settings, "finished": finished(row)}


def _strip(board: Sequence[Row]) -> Row:
    """The common scale of the intervals drawn in the table: from `start` over `width`."""
    ends = [entry[key] for entry in board for key in ("low", "high") if entry[key] is not None]
    start, end = (min(ends), max(ends)) if ends else (0.0, 1.0)
    return {"start": start, "width": max(end - start, 1e-9), "drawn": bool(ends)}


def _csv(board: Sequence[Row]) -> str:
    """The leaderboard for a spreadsheet, with no cell that it would run as a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for entry in board:
        cells = [entry.get(column) for column in _COLUMNS]
        writer.writerow(
            f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r") else cell
            for cell in cells
        )
    return text.getvalue()


def _specification(chart: alt.LayerChart) -> Row:
    """The chart as data; its `$schema` is an address, and the page holds none."""
    specification: Row = chart.to_dict()
    del specification["$schema"]
    return specification


def _svg(chart: alt.LayerChart) -> bytes:
    import vl_convert

    sized = chart.properties(width=_FIGURE_WIDTH).to_dict()
    svg: str = vl_convert.vegalite_to_svg(sized, vl_version=_vega_lite())
    return svg.encode()


@lru_cache(maxsize=1)
def _runtime() -> str:
    """Vega, Vega-Lite and vega-embed in one script of 0.9 MB, made once a process (3 s)."""
    import vl_convert

    return str(vl_convert.javascript_bundle(vl_version=_vega_lite()))  # type: ignore[call-arg]


def _vega_lite() -> str:
    """The Vega-Lite version that Altair writes, as vl-convert names it: v6.4.1 is 6.4."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in (words.percent, words.interval, words.duration, words.standing, words.count):
        environment.filters[word.__name__] = word
    # Ours, so escaped by nobody: the style sheet, the script, and the runtime.
    environment.globals["style"] = (_TEMPLATES / "page.css").read_text()
    environment.globals["script"] = (_TEMPLATES / "page.js").read_text()
    environment.globals["runtime"] = _runtime()
    environment.policies["json.dumps_function"] = json.dumps
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return environment
