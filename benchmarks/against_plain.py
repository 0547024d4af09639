"""`fit` as it comes beside plain code, on one folder that both read.

    python benchmarks/against_plain.py DATA [--minutes 60] [--models lite0 micro]
        [--sets flowers12 photo art] [--shots 8 16 30 0] [--seeds 3] [--methods ...]

DATA: the folder of flowers12-224.zip and pacs-128.zip; shots: training images a class, 0 is all.
Plain code (_plain.py): scikit-learn's logistic regression on frozen features, and a loop of 30
lines that trains all weights for 10 epochs. Ours: foldtune.fit with every default, on all training
images of the same folder (`--train-on train val`), LinearProbe, Full, and SSF, BitFit and LoRA
beside. A finished cell is a line in --results (benchmarks/results/outside, which holds what was
measured; name another folder to measure all anew); a call goes on with what is missing, the most
telling first: one seed of everything, few images before many, the small methods last. Options of
`fit` may stand behind a method, `--methods 'Full lr=1.7e-4 augment=flip'`.
--minutes: begin no cell after so many. Ends with the table of all that is there, one of its own for
each method with options: means over seeds in percent, and the difference of ours to plain.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _plain
import numpy as np
from _plain import (
    KEPT,
    SETS,
    accuracy,
    features_of,
    model_of,
    nearest,
    read_folder,
    regression,
    train_all,
    write_folder,
)

import foldtune
from foldtune.errors import InputError

PLAIN = ("logistic", "loop")
COLUMNS = ("logistic", "LinearProbe", "loop", "Full", "SSF", "BitFit", "LoRA")
METHODS = tuple(column for column in COLUMNS if column not in PLAIN)
# Pixels a side. micro saw 32 for half of its pretraining, at a quarter of the work of 64: of this
# table's three hundred trainings some have 1,600 images.
SIZES = {**_plain.SIZES, "micro": 32}
# What ours is set beside.
BESIDE = {"LinearProbe": "logistic", "Full": "loop"}


def main() -> None:
    """Run what is missing, and print all."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, default=Path("against-plain"))
    options.add_argument("--results", type=Path, default=KEPT)
    options.add_argument("--minutes", type=float, default=float("inf"))
    options.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    options.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    options.add_argument("--shots", type=int, nargs="+", default=[8, 16, 30, 0])
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--methods", nargs="+", default=list(METHODS))
    asked = options.parse_args()
    for folder in (asked.out, asked.results):
        folder.mkdir(parents=True, exist_ok=True)
    lines, end = asked.results / "against_plain.jsonl", time.monotonic() + 60 * asked.minutes
    known = read_cells(lines)
    done = {tuple(line["cell"]) for line in known}
    for cell in cells(asked):
        if cell in done or time.monotonic() > end:
            continue
        started = time.process_time()
        told = {"cell": cell, **measured(cell, asked.data, asked.out)}
        told["processor_seconds"] = round(time.process_time() - started, 1)
        known.append(told)
        with lines.open("a") as file:
            file.write(json.dumps(told) + "\n")
    print(table(known))
    print("\n".join(extremes(known)))
    for what in sorted({line["cell"][-1] for line in known} - set(COLUMNS)):
        places = {tuple(line["cell"][:-1]) for line in known if line["cell"][-1] == what}
        own = [line for line in known if tuple(line["cell"][:-1]) in places]
        print(table(own, ("loop", "Full", what)))


def read_cells(path: Path) -> list[dict]:
    """The lines of a file, one a finished cell."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def cells(asked: argparse.Namespace) -> list[tuple]:
    """(model, set, shots, seed, what) in the order in which they are most telling."""
    sides = [(what, BESIDE[what]) for what in asked.methods if what in BESIDE]
    first = [one for pair in sides for one in pair]
    rest = [what for what in asked.methods if what not in BESIDE]
    shots = sorted(asked.shots, key=lambda number: number or 10**9)
    return [
        (model, name, number, seed, what)
        for group, seeds in ((first, [0]), (first, range(1, asked.seeds)), (rest, [0]),
                             (rest, range(1, asked.seeds)))
        for number in shots
        for seed in seeds
        for model in asked.models
        for name in asked.sets
        for what in group
    ]  # fmt: skip


def measured(cell: tuple, data: Path, out: Path) -> dict:
    """Test accuracy of one way on one folder, or why there is none."""
    model, name, shots, seed, what = cell
    method, *said = what.split()
    options: dict[str, Any] = dict(one.split("=") for one in said)
    if "lr" in options:
        options["lr"] = float(options["lr"])
    if "augment" in options:
        options["augment"] = (options["augment"],)
    folder = write_folder(data, name, shots, seed, out / "data" / f"{name}-{shots}-{seed}")
    size = SIZES[model]
    if what in PLAIN:
        return plain(what, model, folder, size, seed)
    backbone = foldtune.load_backbone(model, size=size)
    images = foldtune.load_data(folder, size=size, seed=seed, cache=out / "cache")
    try:
        found = foldtune.fit(
            images, backbone, method, seed=seed, train_on=("train", "val"), **options
        )
    except InputError as error:
        return {"refused": str(error)}
    row = found.row
    return {"accuracy": row["test_accuracy"], "nll": row["test"]["nll"], "lr": row["recipe"]["lr"]}


def plain(what: str, model: str, folder: Path, size: int, seed: int) -> dict:
    """The same by plain code."""
    classes = len(list((folder / "train").iterdir()))
    host = model_of(model, classes if what == "loop" else None)
    x, y, test, truth = read_folder(folder, host, size)
    if what == "loop":
        train_all(host, x, y, seed=seed)
        return {"accuracy": accuracy(host, test, truth)}
    given = (features_of(host, x), y.numpy(), features_of(host, test), truth.numpy())
    return {**regression(*given), "neighbour": nearest(*given), "train": len(y), "test": len(truth)}


def table(known: list[dict], columns: Sequence[str] = COLUMNS) -> str:
    """Mean over seeds, a row a model, set and number of images."""
    found = by_place(known)
    rows = [f"| model | set, images a class | {' | '.join(columns)} | seeds |"]
    rows.append("|---" * (len(columns) + 3) + "|")
    order = sorted(found, key=lambda p: (p[0], list(SETS).index(p[1]), p[2] or 10**9))
    for place in order:
        model, name, shots = place
        seeds = max(map(len, found[place].values()))
        shown = [shown_cell(found[place], column, seeds) for column in columns]
        rows.append(f"| {model} | {name}, {shots or 'all'} | {' | '.join(shown)} | {seeds} |")
    return "\n".join(rows)


def by_place(known: list[dict]) -> dict[tuple, dict[str, dict[int, float]]]:
    """Accuracies by model, set and number of images, by what was measured, by seed."""
    found: dict[tuple, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in known:
        *place, seed, what = line["cell"]
        found[tuple(place)][what][seed] = line.get("accuracy", float("nan"))
    return found


def extremes(known: list[dict]) -> list[str]:
    """Of each of ours, by model, its lowest and highest mean difference: the probe and Full to
    plain code, the others to the probe."""
    gaps: dict[tuple[str, str, str], list[tuple[float, str]]] = defaultdict(list)
    for (model, name, shots), row in by_place(known).items():
        for what in METHODS:
            beside = BESIDE.get(what, "LinearProbe")
            both = row[what].keys() & row[beside].keys()
            if both:
                gap = 100 * float(np.mean([row[what][seed] - row[beside][seed] for seed in both]))
                gaps[what, beside, model].append((gap, f"{name} {shots or 'all'}"))
    return [
        f"- {what} on {model}, {len(own)} places: {min(own)[0]:+.1f} ({min(own)[1]}) to "
        f"{max(own)[0]:+.1f} ({max(own)[1]}) points from {beside}"
        for (what, beside, model), own in gaps.items()
    ]


def shown_cell(row: dict[str, dict[int, float]], column: str, seeds: int) -> str:
    """A mean in percent, with its difference to plain code over the seeds that both have; said
    where it is of fewer seeds than others of its row, which are other images."""
    if column not in row:
        return ""
    values, beside = row[column], BESIDE.get(column.split()[0], "")
    if np.isnan(list(values.values())).all():
        return "refused"
    told, other = f"{100 * np.mean(list(values.values())):.1f}", row.get(beside, {})
    gaps = [value - other[seed] for seed, value in values.items() if seed in other]
    if gaps:
        told += f" ({100 * np.mean(gaps):+.1f})"
    return told if len(values) == seeds else f"{told}, of {len(values)}"


if __name__ == "__main__":
    main()
