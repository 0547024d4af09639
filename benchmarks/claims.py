"""The claims of the two papers, tried on real backbones: for, against or open, from stored rows.

    python benchmarks/claims.py DATA [--out claims] [--models micro lite0] [--minutes M] [--quick]
        [--only few curve robust | none] [--sets S ...] [--shots N ...] [--results FILE]
        [--page FILE] [--figures FILE]

DATA: the folder of flowers12-224.zip, pacs-128.zip and tiny-imagenet-64.zip. Three kinds of
studies, each a folder of OUT that a later call goes on with, the cheapest first, and a line of
--results once it is finished (a file of benchmarks/results/outside, of what was measured; name
another to measure all anew). Studies run again, in a new OUT, once a search tries other values:
- few: every default method with equal budgets, 8 and 16 images a class, seven sets in two groups
  (lite0: four, and no curves);
- curve: the probe, three small methods and Full with 30 to all images a class (Tiny-ImageNet, 10
  classes, 500 each, and PACS photo), three trials and two seeds of ten epochs, since every run has
  up to a hundred times the images; the first points are those of few;
- robust: the same methods on PACS photo from two starts of the classifier, each with its frontier
  between start and tuned over the three other domains (50 images of a class at most) and four
  corruptions.
The lines are judged (_claims_judged.py; that of many images by those of against_plain.py, too),
printed, written as Markdown where --page asks for it, and drawn on one page of HTML where --figures
does.
--models: any that foldtune loads, at 224 pixels but for these two. --sets, --shots (0 is all): run
of the missing studies only these; judged is every line that is there. --minutes: begin no study
after so many. --quick: a toy of embedded sets in a minute, without DATA; its lines stay in OUT.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _claims import page, verdicts
from _claims_figures import write_figures
from _claims_kept import is_of_today, keep, line_of, read_lines
from _claims_sets import AWAY, SETS, fewer, images_of, loader
from against_plain import read_cells

import foldtune
from foldtune.backbones.prepare import prepare_for
from foldtune.core.tuningfile import TUNING
from foldtune.data import ImageData
from foldtune.judging.shift import target_of
from foldtune.study.results.store import Store
from foldtune.tunings.judging import Known, choose, validation_rows
from foldtune.tunings.shifts import load_targets
from foldtune.tunings.tuning import home_target, open_tuning
from foldtune.tunings.weightspace.wise import sweep

KEPT = Path(__file__).parent / "results" / "outside" / "claims.jsonl"
# Each study has some fifty runs, and on a CPU half the side is a quarter of the work; micro saw 32
# pixels for half of its pretraining. Every other backbone: 224.
SIZES = {"micro": 32, "lite0": 64}
# Ten times the work of micro: fewer sets, and no curves, which the table beside plain code has.
SHORTER = {"lite0": ("flowers12", "photo", "digits", "shapes/count")}
CORRUPTIONS = ("gaussian_noise", "defocus_blur", "fog", "jpeg")
CHOSEN = ("LinearProbe", "BitFit", "SSF", "LoRA", "Full")
STARTS = ("zero", "regularised")
SHOTS, CURVE = (8, 16), (30, 100, 0)  # 0: all


@dataclass(frozen=True)
class Scale:
    """How large everything is. trials, epochs: None are compare's own; curve_budget: trials, seeds
    and epochs of every point of a curve."""

    sets: tuple[str, ...] = tuple(SETS)
    shots: tuple[int, ...] = SHOTS
    curve: tuple[int, ...] = CURVE
    curve_sets: tuple[str, ...] = ("photo", "tiny10")
    curve_budget: tuple[int, int, int] = (3, 2, 10)
    methods: tuple[str, ...] | None = None
    chosen: tuple[str, ...] = CHOSEN
    seeds: int = 3
    trials: int | None = None
    epochs: int | None = None
    size: int | None = None
    home: str = "photo"
    home_shots: int = 30
    away: tuple[str, ...] = tuple(AWAY)
    away_images: int = 50  # of a class; at eleven places between start and tuned, of every run
    corruptions: tuple[str, ...] = CORRUPTIONS


QUICK = Scale(
    sets=("digits", "shapes/count"), shots=(4,), curve=(8,), curve_sets=("digits",),
    curve_budget=(1, 2, 1),
    methods=("LinearProbe", "BitFit", "SSF"), chosen=("LinearProbe", "BitFit", "Full"), seeds=2,
    trials=1, epochs=1, size=16, home="digits", home_shots=8, away=(),
    corruptions=(),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One study. shots: 0 is all; head: where classifiers start, None: each method's own."""

    kind: str
    model: str
    data: str
    shots: int
    head: str | None = None

    @property
    def name(self) -> str:
        model = re.sub(r"[^A-Za-z0-9_.]+", "_", self.model)  # the first dash ends it
        parts = (model, self.data.replace("/", "-"), f"{self.shots or 'all'}", self.head)
        return "-".join(part for part in parts if part)

    @property
    def about(self) -> dict[str, Any]:
        return {"study": self.name, **asdict(self), "group": SETS[self.data][1]}


def main() -> None:
    """Run what is missing, judge what is there."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("data", type=Path, nargs="?")
    options.add_argument("--out", type=Path, default=Path("claims"))
    options.add_argument("--models", nargs="+", default=["micro", "lite0"])
    options.add_argument("--only", nargs="+", default=["few", "curve", "robust"])
    options.add_argument("--sets", nargs="+", choices=list(SETS))
    options.add_argument("--shots", type=int, nargs="+")
    options.add_argument("--minutes", type=float, default=float("inf"))
    options.add_argument("--quick", action="store_true")
    options.add_argument("--results", type=Path)
    options.add_argument("--page", type=Path, help="write what is found as Markdown")
    options.add_argument("--figures", type=Path, help="draw what is found on one page of HTML")
    asked = options.parse_args()
    if asked.data is None and not asked.quick and asked.only != ["none"]:
        options.error("give DATA, the folder of the image sets, or --quick")
    scale = QUICK if asked.quick else Scale()
    models = ["micro"] if asked.quick else asked.models
    results = asked.results or (asked.out / "claims.jsonl" if asked.quick else KEPT)
    done = {(line["kind"], line["study"]) for line in read_lines(results) if is_of_today(line)}
    end = time.monotonic() + 60 * asked.minutes
    for cell in cells(scale, models):
        known = (cell.kind, cell.name) in done
        if known or not wanted(cell, asked) or time.monotonic() > end:
            continue
        print(f"{cell.kind} {cell.name}", flush=True)
        keep(line_of(run(cell, scale, asked.data, asked.out), cell.about), results)
    lines = [line for line in read_lines(results) if line["model"] in models]
    table = [] if asked.quick else read_cells(KEPT.with_name("against_plain.jsonl"))
    table = [line for line in table if line["cell"][0] in models]
    found = verdicts(lines, table)
    for one in found:
        print(f"{one['claim']}: {one['verdict'].upper()}. {one['sentence']}", flush=True)
    if asked.page is not None:
        asked.page.write_text(page(found, lines, table))
    if asked.figures is not None:
        write_figures(
            found, asked.figures, "python benchmarks/claims.py --only none --figures FILE"
        )


def wanted(cell: Cell, asked: argparse.Namespace) -> bool:
    """Whether the command asks for a study of this kind, set and number of images."""
    return (
        cell.kind in asked.only
        and cell.data in (asked.sets or SETS)
        and (asked.shots is None or cell.shots in asked.shots)
    )


def cells(scale: Scale, models: list[str]) -> Iterator[Cell]:
    """All studies, the small model first, few images before many."""
    for model in models:
        for shots in scale.shots:
            sets = SHORTER.get(model, scale.sets)
            yield from (Cell("few", model, name, shots) for name in sets)
        # Texts that say the classes are the start that a CLIP's robustness is claimed of.
        heads = (*STARTS, "zero-shot") if model.startswith("open_clip:") else STARTS
        yield from (Cell("robust", model, scale.home, scale.home_shots, head) for head in heads)
        for shots in () if model in SHORTER else scale.curve:
            yield from (Cell("curve", model, name, shots) for name in scale.curve_sets)


def run(cell: Cell, scale: Scale, data: Path | None, out: Path) -> Path:
    """The study of a cell, and of one that judges robustness its frontiers; finished runs stay."""
    folder = out / cell.kind / cell.name
    backbone = foldtune.load_backbone(cell.model, size=scale.size or SIZES.get(cell.model, 224))
    images = images_of(cell.data, backbone.transform, data, out)
    few = images if cell.shots == 0 else images.few_shot(cell.shots)
    methods = scale.methods if cell.kind == "few" else scale.chosen
    trials, seeds, epochs = scale.trials, scale.seeds, scale.epochs
    if cell.kind == "curve":
        trials, seeds, epochs = scale.curve_budget
    recipe = None if epochs is None else foldtune.Recipe(epochs=epochs)
    foldtune.compare(
        few, backbone, methods, out=folder, trials=trials, seeds=seeds, recipe=recipe,
        head=cell.head,
    )  # fmt: skip
    if cell.kind == "robust":
        load = loader(backbone.transform, data, out)
        for row in Store(folder).rows():
            if row["stage"] == "final" and row["verdict"] == "finished":
                frontier(folder, row["run"], row["label"], few, scale, load)
    return folder


def frontier(
    folder: Path, run_key: str, label: str, images: ImageData, scale: Scale,
    load: Callable[[str], ImageData],
) -> None:  # fmt: skip
    """The accuracies between a tuning's start and itself, at home and away, kept as JSON."""
    kept = folder / "wise" / f"{run_key}.json"
    if kept.exists():
        return
    attachment, backbone, header = open_tuning(folder / "runs" / run_key / TUNING)
    classes = header["classes"]
    known = Known.of([folder / "runs" / run_key / TUNING], [header])
    home = home_target(images, classes, choose(known, images), {})
    rows, _ = validation_rows(known, images)
    watched = target_of("val", images, rows, classes, {}) if len(rows) else None
    all_away = load_targets([f"{n}={AWAY[n]}" for n in scale.away], load, classes, {}, known)
    away = [fewer(target, scale.away_images) for target in all_away]
    corrupted = [home.corrupt(name, 3) for name in scale.corruptions]
    told = sweep(attachment, home, [*away, *corrupted], prepare_for(backbone), validation=watched)
    kept.parent.mkdir(exist_ok=True)
    about: dict[str, Any] = {"label": label, "away": [t.name for t in away]}
    about |= {"corrupted": [t.name for t in corrupted], "rows": list(told.rows)}
    kept.write_text(json.dumps(about))


if __name__ == "__main__":
    main()
