"""Write docs/demo.md, what `foldtune demo` finds, and docs/page.png, its page's first screen.

    foldtune demo --out demo-study
    python benchmarks/demo_page.py demo-study

The picture needs chromium. Figures are those of the study's rows, logits and study.json.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from foldtune.cli.shown.boards import in_order_of_choice, row_of
from foldtune.report.lead import lead
from foldtune.report.material import Material
from foldtune.report.words import budget
from foldtune.study.results.artefacts import PAGE

DOCS = Path(__file__).parents[1] / "docs"
_COLUMNS = ("method", "validation", "test", "95 % interval", "against the chosen",
            "trained parameters", "folds in")  # fmt: skip
_SIZE = (1200, 1180)


def page(study: Path) -> str:
    """The whole document."""
    found = Material.read(study)
    asked = found.asked
    images = ", ".join(f"{count} {name}" for name, count in asked["images"].items())
    lines = [
        "# What the demo finds",
        "",
        f"`foldtune demo` compares {len(found.board)} methods on {asked['data']} "
        f"({images} images) with "
        f"{asked['backbone']}. {budget(found.rows, found.board)} Written by "
        "`python benchmarks/demo_page.py`; another processor, or another number of threads, rounds "
        "otherwise, and single figures move by an image or two.",
        "",
        *(f"- **{name}**: {told}" for name, told in lead(found.board, found.decision)),
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
    ]
    for place, entry in enumerate(in_order_of_choice(found.board), 1):
        row = row_of(entry, place)
        lines.append(f"| {' | '.join(str(row[name]) for name in _COLUMNS)} |")
    return "\n".join(lines) + "\n"


def picture(study: Path) -> bytes | None:
    """The first screen of the study's page as a PNG of few colours; None without chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-background-networking", f"--user-data-dir={folder}/profile",
             "--virtual-time-budget=15000", f"--window-size={_SIZE[0]},{_SIZE[1]}",
             f"--screenshot={shot}", (study / PAGE).resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
        few = Image.open(shot).convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
        file = io.BytesIO()
        few.save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    asked = Path(sys.argv[1])
    (DOCS / "demo.md").write_text(page(asked), encoding="utf-8")
    if (drawn := picture(asked)) is not None:
        (DOCS / "page.png").write_bytes(drawn)
