"""Hostile study folders and ensembles: rows with right checksums, descriptions, files in place of
others."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from _hostile import NAMES, bytes_mutated, text_of, value_mutated
from _seeds import SIZE, image, study

from foldtune.files import digest
from foldtune.study.ensembles import save_ensemble
from foldtune.study.results.rowfile import line_of


def folder_of_a_study(home: Path, folder: Path, draw: random.Random) -> Sequence[object]:
    """A study somebody sends, and a verb that reads it."""
    place = shutil.copytree(study(home), folder / "study")
    what = draw.random()
    if what < 0.45:
        _rows(place / "rows.jsonl", draw)
    elif what < 0.7:
        _described(place / "study.json", draw)
    else:
        path = draw.choice(sorted(p for p in place.rglob("*") if p.is_file() and p.stat().st_size))
        path.write_bytes(bytes_mutated(path.read_bytes(), draw))
    verbs = (
        ("status", place), ("check", place), ("analyse", place, "--draws", 3),
        ("ensemble", place, "--out", folder / "e"), ("rank", place, study(home)),
        ("analyse", place, study(home)), ("check", place, "--repair"),
        ("compare", "digits", "--out", place, "--methods", "LinearProbe", "--trials", 1, "--seeds",
         2, "--epochs", 1, "--batch-size", 32, "--shots", 2, "--size", SIZE, "--cache",
         home / "cache", "--head", "zero"),
    )  # fmt: skip
    return draw.choice(verbs)


def _rows(path: Path, draw: random.Random) -> None:
    """Rows with a value of another kind, or more, or fewer; their checksums are right."""
    rows = [json.loads(line)["row"] for line in path.read_text().splitlines()]
    for _ in range(draw.choice((1, 1, 3))):
        at = draw.randrange(len(rows))
        rows[at] = value_mutated(rows[at], draw)
    if draw.random() < 0.3:  # as an earlier foldtune, or a stranger who knows better, writes them
        rows = [{k: v for k, v in r.items() if k != "files"} if isinstance(r, dict) else r
                for r in rows]  # fmt: skip
    bodies = (text_of(row).encode("ascii", "replace") for row in rows)
    path.write_bytes(b"".join(line_of(body) for body in bodies))


def _described(path: Path, draw: random.Random) -> None:
    told = json.loads(path.read_text())
    told.pop("checksum")
    told = value_mutated(told, draw, draw.choice((1, 2)))
    if isinstance(told, dict) and draw.random() < 0.7:
        told["checksum"] = digest([json.dumps(told, sort_keys=True)])
    path.write_text(text_of(told))


def ensemble(home: Path, folder: Path, draw: random.Random) -> Sequence[object]:
    """A saved ensemble with other members, weights or names."""
    saved = home / "ensemble"
    if not saved.exists():
        save_ensemble(study(home), saved)
    place = shutil.copytree(saved, folder / "ensemble")
    path = place / "ensemble.json"
    told = json.loads(path.read_text())
    told.pop("checksum")
    if draw.random() < 0.3 and told["members"]:
        told["members"][0]["file"] = draw.choice(("../image.png", "/etc/passwd", *NAMES))
    else:
        told = value_mutated(told, draw, draw.choice((1, 2)))
    if isinstance(told, dict) and draw.random() < 0.8:
        told["checksum"] = digest([json.dumps(told, sort_keys=True)])
    path.write_text(text_of(told))
    if draw.random() < 0.15:
        path.write_bytes(bytes_mutated(path.read_bytes(), draw))
    return draw.choice((("check", place), ("predict", place, image(home))))
