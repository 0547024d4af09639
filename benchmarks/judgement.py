"""Whether the judgement of a study holds what it says: simulated methods of known accuracy.

    OMP_NUM_THREADS=1 python benchmarks/judgement.py [--accuracy 0.9] \
        --results benchmarks/results/analysis
    python benchmarks/judgement.py --page

Seven methods of equal accuracy, whose runs differ by `noise` points (standard deviation over
training seeds) and are right about the same images as often as runs of real studies are. In each
cell of images x seeds x noise many studies are drawn and judged by `foldtune.analysis.decision`:

- coverage: how often the interval of a difference, of that pair alone, holds the truth;
- accuracy: how often the interval of an accuracy does;
- family error: how often any pair of the seven is said to differ, though none does;
- half-width: of the interval over all pairs, in points.

With one seed the truth is the accuracy of these very runs, which is all that is claimed then. The
aim is two-sided: too wide fails as too narrow does. A cell of which FOLDER holds as many drawn
studies is not drawn again; with more --repetitions all its studies are new. --pseudo: what
another number of made-up images would do. --page: write the table into docs/analysis.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _lines import RESULTS, Lines, add_results
from scipy.special import ndtr, ndtri

from foldtune.analysis import decision
from foldtune.analysis.decision import decide

METHODS = 7
IMAGES = (30, 100, 300, 1000, 3000, 10_000)
SEEDS = (1, 2, 3, 5)
NOISE = (0.0, 1.0, 2.0)
# Not in the folder of the clock's figures, of which docs/performance.md is made.
KEPT = RESULTS / "analysis"
PAGE = Path(__file__).parents[1] / "docs/analysis.md"
MARK = "<!-- coverage: written by benchmarks/judgement.py --page -->"
# Correlation of what lies behind right and wrong, between methods and between seeds of one method,
# by accuracy: as measured on runs of real studies.
_ALIKE = {0.6: (0.94, 0.97), 0.9: (0.85, 0.92), 0.98: (0.75, 0.85)}
_AT_ONCE = 1 << 23  # right or wrong answers drawn at a time

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--accuracy", type=float, default=0.9, choices=tuple(_ALIKE))
    parser.add_argument("--repetitions", type=int, default=400)
    for name, kind, values in (("images", int, IMAGES), ("seeds", int, SEEDS),
                               ("noise", float, NOISE)):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, nargs="+", default=values)
    parser.add_argument("--pseudo", type=float, help="made-up images a method; without --results")
    parser.add_argument("--page", action="store_true")
    add_results(parser)
    asked = parser.parse_args()
    if asked.page:
        PAGE.write_text(with_table(PAGE.read_text(), kept(KEPT)))
        return
    if asked.pseudo is not None:
        if asked.results:
            parser.error("figures of another procedure are not kept: --pseudo without --results")
        decision.PSEUDO = asked.pseudo
    lines = Lines("coverage", asked)
    known = {cell(row): row["repetitions"] for row in kept(asked.results or Path())}
    for images, seeds, noise in product(asked.images, asked.seeds, asked.noise):
        here: Row = {"accuracy": asked.accuracy, "images": images, "seeds": seeds, "noise": noise}
        if known.get(cell(here), 0) >= asked.repetitions:
            continue
        found = judged(**here, repetitions=asked.repetitions)
        name = f"coverage, accuracy {asked.accuracy}, images {images}, seeds {seeds}, noise {noise}"
        aim = "93 to 99" if images <= 100 else "93 to 97"
        lines.tell(name, found.pop("coverage"), "%", aim, **here, **found)


def judged(
    accuracy: float, images: int, seeds: int, noise: float, repetitions: int, start: int = 0
) -> Row:
    """The figures of one cell, in percent and points, over `repetitions` drawn studies."""
    alone, each, missed, widths = [], [], [], []
    for right, truth in studies(accuracy, images, seeds, noise, repetitions, start):
        found = decide({str(m): rows for m, rows in enumerate(right)})
        low, high = np.array(found.low), np.array(found.high)
        each.append(np.mean((low <= truth) & (truth <= high)))
        gaps = [truth[int(p.a)] - truth[int(p.b)] for p in found.pairs]
        pairs = list(zip(found.pairs, gaps, strict=True))
        alone.append(np.mean([abs(p.difference - gap) <= p.alone for p, gap in pairs]))
        missed.append(any(not p.low <= gap <= p.high for p, gap in pairs))
        widths.append(np.mean([(p.high - p.low) / 2 for p in found.pairs]))
    return {
        "coverage": 100 * float(np.mean(alone)),
        "accuracy_coverage": 100 * float(np.mean(each)),
        "family_error": 100 * float(np.mean(missed)),
        "half_width": 100 * float(np.mean(widths)),
        "repetitions": repetitions,
    }


def studies(
    accuracy: float, images: int, seeds: int, noise: float, repetitions: int, start: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Drawn studies: (methods, seeds, images) of right or wrong, and each method's true accuracy.

    A run is right about an image where a + b + c > -(level + shift): a is the image's own, b what a
    method makes of it, c what a seed does, all normal with variances that add to 1, and the shift
    is the run's, with `noise` points of accuracy as its standard deviation.
    """
    rng = np.random.default_rng(
        [start, repetitions, images, seeds, round(10 * noise), round(100 * accuracy)]
    )
    base = ndtri(accuracy)
    spread = noise / 100 / (np.exp(-(base**2) / 2) / np.sqrt(2 * np.pi))
    level = base * np.sqrt(1 + spread**2)  # so that the mean over runs is `accuracy`
    methods, same = _ALIKE[accuracy]
    parts = np.sqrt([methods, same - methods, 1 - same]).astype(np.float32)
    step = max(1, _AT_ONCE // (METHODS * seeds * images))
    for done in range(0, repetitions, step):
        count = min(step, repetitions - done)
        shift = spread * rng.standard_normal((count, METHODS, seeds))
        shapes = ((count, 1, 1, images), (count, METHODS, 1, images),
                  (count, METHODS, seeds, images))  # fmt: skip
        drawn = sum(part * rng.standard_normal(shape, np.float32)
                    for part, shape in zip(parts, shapes, strict=True))  # fmt: skip
        right = drawn > -(level + shift)[..., None].astype(np.float32)
        for one, run in zip(right, shift, strict=True):
            yield one, ndtr(level + run[:, 0]) if seeds == 1 else np.full(METHODS, accuracy)


# -- the table -------------------------------------------------------------------------------------


def kept(folder: Path) -> list[Row]:
    """The cells in a folder of results, the last of each."""
    file = Path(folder) / "coverage.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return list({cell(row): row for row in rows}.values())


def cell(row: Row) -> tuple[float, ...]:
    return tuple(float(row[key]) for key in ("accuracy", "images", "seeds", "noise"))


def with_table(page: str, rows: list[Row]) -> str:
    """The page with what stands between its two marks made anew."""
    before, _, after = page.split(MARK)
    return f"{before}{MARK}\n{table(rows)}\n{MARK}{after}"


def table(rows: list[Row]) -> str:
    """Of each accuracy a table, a row for images and seeds, and a sentence on what holds."""
    told = []
    for accuracy in sorted({row["accuracy"] for row in rows}):
        some = {cell(row)[1:]: row for row in rows if row["accuracy"] == accuracy}
        noise = sorted({key[2] for key in some})
        told += [f"\nMethods of {100 * accuracy:.0f} %, runs that vary by "
                 f"{', '.join(f'{n:g}' for n in noise)} points: coverage of a difference; of an "
                 "accuracy; family error.\n",
                 "| images | seeds | " + " | ".join(f"{n:g} points" for n in noise) + " |",
                 "|---" * (2 + len(noise)) + "|"]  # fmt: skip
        for images, seeds in sorted({key[:2] for key in some}):
            cells = [_figures(some.get((images, seeds, n))) for n in noise]
            told.append(f"| {images:,.0f} | {seeds:.0f} | {' | '.join(cells)} |")
    return "\n".join([*told, "", _summary(rows)])


def _figures(row: Row | None) -> str:
    if row is None:
        return "–"
    values = (row["value"], row["accuracy_coverage"], row["family_error"])
    return "; ".join(f"{value:.1f}" for value in values)


def _summary(rows: list[Row]) -> str:
    large = [row["value"] for row in rows if row["images"] > 100]
    small = [row["value"] for row in rows if row["images"] <= 100]
    errors = [row["family_error"] for row in rows]
    drawn = sorted({row["repetitions"] for row in rows})
    again = sum(row["repetitions"] > drawn[0] for row in rows)
    wide = [row for row in rows if not row["met"] and row["value"] > 95]
    narrow = sum(not row["met"] for row in rows) - len(wide)
    two = sum(row["seeds"] == 2 and row["images"] > 100 for row in wide)
    few = sum(row["images"] <= 100 for row in wide)
    sharp = sum(
        row["accuracy"] > 0.95 and row["images"] > 100 and row["seeds"] != 2 for row in wide
    )
    return (
        f"Of {len(rows)} cells: a difference is covered by {min(large):.1f} to {max(large):.1f} % "
        f"with more than 100 images and by {min(small):.1f} to {max(small):.1f} % with fewer; the "
        f"family error is {median(errors):.1f} % in the median and {max(errors):.1f} % at worst. "
        f"{drawn[0]:,} drawn studies a cell, with a standard error of a point in the family "
        f"error; {again} cells that came out above 6 % were drawn anew, {drawn[-1]:,} times. Aimed "
        "at 93 to 97 %, and up to 99 with 100 images or fewer: "
        f"{narrow} cells are narrower, {len(wide)} wider ({few} with 100 images or fewer; of the "
        f"others {two} with two seeds and {sharp} with methods of 98 %)."
    )


if __name__ == "__main__":
    main()
