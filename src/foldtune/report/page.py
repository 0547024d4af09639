"""One self-contained page about a study: computed from its rows, no number typed, no network."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
from altair.utils.schemapi import debug_mode

from foldtune.analysis.row import Description
from foldtune.console import duration
from foldtune.data.store.stored import default_cache
from foldtune.files import read_json, replacing, write_json
from foldtune.report import verdict, words
from foldtune.report.charts import PAPER
from foldtune.report.lead import lead
from foldtune.report.material import Material, readable
from foldtune.report.paper import converter, vega_lite, write_charts
from foldtune.report.section import Section
from foldtune.report.sections import absent, sections
from foldtune.report.shortfalls import shortfalls, warning
from foldtune.study.results.artefacts import PAGE, seal_page, unbound_line, warn_of_unbound
from foldtune.study.results.pictures import trained_among
from foldtune.study.results.rowfile import ROWS, replace

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    folder: Path,
    *,
    out: Path | None = None,
    charts: Path | None = None,
    wise: Sequence[Path] = (),
    shifts: Sequence[Path] = (),
    cache: Path | None = None,
) -> Path:
    """Write `report.html` (or `out`) of a study folder, and its charts to the folder `charts`.

    wise, shifts: files with the JSON of `foldtune wise` and of `foldtune eval --shift`; those in
    the study's folders `wise/` and `shift/` are found without. cache: where decoded images are
    looked for. The same rows give the same bytes, and the page's last line is their hash. Each file
    is put in place at once. Raises InputError for a study without rows or with files that are not
    those of its rows, and for files that hold something else, NotInstalled without the extra
    `report`.
    """
    converter()
    folder = Path(folder)
    study = Material.read(folder, wise=tuple(wise), shifts=tuple(shifts), cache=cache)
    with debug_mode(False):  # see Figure.specification
        found = sections(study)
    path = folder / PAGE if out is None else Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    warn_of_unbound(study.rows)
    page = _environment().get_template("page.html").render(_context(study, found))
    replace(path, seal_page(page.encode()))
    if charts is not None:
        write_charts(found, Path(charts))
    return path


def _context(study: Material, found: Sequence[Section]) -> dict[str, Any]:
    """What the template says in words and tables."""
    rows, board, asked = study.rows, study.board, study.asked
    images = asked.get("images")
    about = {key: asked.get(key, rows[0].get(key)) for key in ("data", "backbone", "pretrained")}
    return {
        "about": {
            **about,
            "classes": next((row["classes"] for row in rows if row.get("classes")), None),
            "images": images if isinstance(images, dict) else {},
        },
        "asked": asked,
        "identity": rows[0].get("data_identity"),
        "lead": [
            (name, *words.of_metric([told], study.metric))
            for name, told in lead(board, study.decision)
        ],
        "absent": absent(found, study),
        "verdict": words.of_metric(
            verdict.verdict(board, study.decision, study.validation), study.metric
        ),
        "budget": words.budget(rows, board),
        "notes": [
            *filter(None, [unbound_line(rows)]),
            *words.judged_by(study.metric, str(asked.get("task") or "")),
            *words.of_metric([*shortfalls(board, asked), *words.notes(rows, board)], study.metric),
            *words.protocol(asked),
            *(*_of_the_data(asked), *_looked_up(study), *_missing(study)),
        ],
        "sections": found,
        "paper": PAPER,
        "folder": shlex.quote(readable(study.folder.resolve().name)),
        "digest": hashlib.sha256((study.folder / ROWS).read_bytes()).hexdigest(),
    }


def _of_the_data(asked: Description) -> list[str]:
    """What was found in the data: pictures with several labels, in several splits, and the like."""
    found = asked.get("data_warnings")
    lines = [str(line) for line in found] if isinstance(found, list) else []
    treated = {"drop": "left out", "refuse": "refused"}.get(str(asked.get("conflicts")))
    said = [f"Of the data: {line}." for line in lines]
    return said + ([f"Conflicts in the data were {treated}."] if treated else [])


def _looked_up(study: Material) -> list[str]:
    """Whether a test image was trained on: each is looked up by its picture."""
    if study.panel is None:
        return []
    seen = trained_among(study.folder, study.images)
    if seen is None:
        return [
            "This study keeps no membership (it is older than foldtune's keeping one, or it is "
            "lost), so whether a test image was trained on cannot be told."
        ]
    left = max((row.get("test_trained_on") or 0 for row in study.rows), default=0)
    told = f" {left} more were trained on: left out." if left else ""
    if seen.any():
        return [f"{seen.sum():,} of {len(seen):,} test images were trained on.{told}"]
    return [
        f"Each of the {len(seen):,} test images was looked up among those that training or "
        f"validation saw, and is none of them.{told}"
    ]


def _missing(study: Material) -> list[str]:
    if study.predictions is not None or all(e["test_accuracy"] is None for e in study.board):
        return []
    return [f"Nothing is said about single test images: {study.missing}."]


@lru_cache(maxsize=1)
def _runtime() -> str:
    """Vega, Vega-Lite and vega-embed in one script of 0.9 MB; made once a version (3.5 s), kept
    with its hash beside the decoded images."""
    vl_convert = converter()
    version = f"{metadata.version('vl-convert-python')}-{vega_lite()}"
    kept = default_cache().parent / "runtime" / f"vega-{version}.json"
    found = read_json(kept)
    if found is not None:
        return str(found["script"])
    script = str(vl_convert.javascript_bundle(vl_version=vega_lite()))
    with contextlib.suppress(OSError):  # a read-only home makes it again for every page
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as fresh:
            write_json(fresh, {"script": script})
    return script


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    said = (words.percent, words.interval, duration, verdict.standing, words.count, warning)
    for word in said:
        environment.filters[word.__name__] = word
    # Ours, so escaped by nobody: the style sheet, the scripts, and the runtime.
    environment.globals["style"] = (_TEMPLATES / "page.css").read_text()
    environment.globals["script"] = (_TEMPLATES / "page.js").read_text()
    environment.globals["gallery_script"] = (_TEMPLATES / "gallery.js").read_text()
    environment.globals["runtime"] = _runtime()
    environment.policies["json.dumps_function"] = json.dumps
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return environment
