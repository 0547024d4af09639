"""Whether each method's default range of learning rates holds the best one, on real images.

    python benchmarks/sweep.py DATA [--minutes 30] [--models lite0 micro]
        [--sets flowers12 photo] [--shots 8] [--methods Full SSF BitFit LayerNorm LoRA AdaptFormer]
        [--starts regularised] [--shares 0.5 0.25 0.75 0 1] [--set NAME=VALUE ...]

Each rate at the ends, the quarters and the middle of the method's range, by `fit` on all of a few
training images, everything else as it comes. Judged on 30 other training images a class at most, at
the last epoch: the test split is never read. --starts: where classifiers start (`--head`), each in
turn. --set changes the recipe for all, e.g. `--set head_lr=10`, and is part of the line. A finished
line is kept in --results (benchmarks/results/outside, which holds what was measured; name another
folder to measure all anew), and a call goes on; --minutes: begin none after so many.
Prints a row a method, of what this call asks for: accuracy in percent at each rate that was tried,
those of earlier ranges included, and where the best stands; then how far the best of the rates that
a default search tries stays below the best in the range, between rates on straight lines.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import math
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from _plain import KEPT, SETS, SIZES, write_folder

import foldtune
from foldtune.core.method import LogRange
from foldtune.errors import InputError
from foldtune.methods.catalogue import parse
from foldtune.study.fit import recipe_for
from foldtune.study.search.spaces import TRIALS, Entrant, at, plan_values

METHODS = ("Full", "SSF", "BitFit", "LayerNorm", "LoRA", "AdaptFormer")
SHARES = (0.5, 0.25, 0.75, 0.0, 1.0)
OTHERS = 30  # images a class that judge
SEEDS = 100  # of a search, each with other rates
PLACE = ("model", "set", "shots", "method", "start")
Line = dict


def main() -> None:
    """Run what is missing, and print all."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, default=Path("sweep"))
    options.add_argument("--results", type=Path, default=KEPT)
    options.add_argument("--minutes", type=float, default=float("inf"))
    options.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    options.add_argument("--sets", nargs="+", default=["flowers12", "photo"], choices=list(SETS))
    options.add_argument("--shots", type=int, nargs="+", default=[8])
    options.add_argument("--methods", nargs="+", default=list(METHODS))
    options.add_argument("--starts", nargs="+", default=["regularised"])
    options.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    options.add_argument("--set", nargs="*", default=[], dest="changes")
    asked = options.parse_args()
    for folder in (asked.out, asked.results):
        folder.mkdir(parents=True, exist_ok=True)
    lines, end = asked.results / "sweep.jsonl", time.monotonic() + 60 * asked.minutes
    known = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    done = {key_of(line) for line in known}
    pairs = (one.split("=") for one in asked.changes)
    changes = {name: ast.literal_eval(value) for name, value in pairs}
    axes = (asked.starts, asked.models, asked.sets, asked.shots, asked.methods)
    for start, share, model, name, shots, method in itertools.product(
        asked.starts, asked.shares, *axes[1:]
    ):
        one = {"model": model, "set": name, "shots": shots, "method": method, "start": start}
        one |= changes
        line = {"asked": one, "lr": rate_of(method, share)}
        if key_of(line) in done or time.monotonic() > end:
            continue
        known.append({**line, **tried(line, changes, asked.data, asked.out)})
        with lines.open("a") as file:
            file.write(json.dumps(known[-1]) + "\n")
    shown = [line for line in known if is_asked(line["asked"], axes, changes)]
    print(table(shown), lost(shown), sep="\n\n")


def key_of(line: Line) -> str:
    """What a line is of: its rate, not where that stood in a range that may have moved since."""
    return json.dumps([{k: v for k, v in line["asked"].items() if k != "share"}, line["lr"]])


def rate_of(method: str, share: float) -> float:
    """The learning rate at that share of the method's range."""
    rates = type(parse(method)).space["lr"]
    assert isinstance(rates, LogRange)
    return at(rates, share)


def is_asked(one: Line, axes: Sequence[Sequence], changes: Line) -> bool:
    """Whether a kept line is of this call."""
    names = ("start", "model", "set", "shots", "method")
    others = {key: value for key, value in one.items() if key not in (*names, "share")}
    return others == changes and all(
        one[name] in axis for name, axis in zip(names, axes, strict=True)
    )


def tried(line: Line, changes: Line, data: Path, out: Path) -> Line:
    """Accuracy of one method at one rate; `refused` where it does not stand on the model."""
    one, lr = line["asked"], line["lr"]
    folder = few_and_others(data, one["set"], one["shots"], out / "data")
    backbone = foldtune.load_backbone(one["model"], size=SIZES[one["model"]])
    images = foldtune.load_data(folder, size=SIZES[one["model"]], cache=out / "cache")
    method = parse(one["method"])
    recipe = replace(recipe_for(method), lr=lr, min_lr=lr / 100, warmup_lr=lr / 100, **changes)
    try:
        row = foldtune.fit(
            images, backbone, method, recipe=recipe, head=one["start"], train_on=("train", "val")
        ).row
    except InputError as error:
        return {"refused": str(error)}
    told = {"accuracy": row["test_accuracy"], "nll": row["test"]["nll"]}
    return {**told, "seconds": row["seconds"]}


def few_and_others(data: Path, name: str, shots: int, out: Path) -> Path:
    """A folder of `shots` training images a class, and of at most 30 others of them as its test."""
    folder = out / f"{name}-{shots}-others"
    if not folder.exists():
        every = write_folder(data, name, 0, 0, out / f"{name}-all")
        for label in sorted((every / "train").iterdir()):
            files = sorted(label.iterdir())
            random.Random(f"sweep/{label.name}").shuffle(files)
            parts = {"train": files[:shots], "test": files[shots : shots + OTHERS]}
            for split, chosen in parts.items():
                place = folder / split / label.name
                place.mkdir(parents=True)
                for file in chosen:
                    shutil.copy(file, place / file.name)
    return folder


def grouped(known: list[Line]) -> dict[str, list[Line]]:
    """Lines by model, set, method and change of the recipe, as JSON."""
    groups: dict[str, list[Line]] = {}
    for line in known:
        place = {k: v for k, v in line["asked"].items() if k != "share"}
        groups.setdefault(json.dumps(place), []).append(line)
    return groups


def lost(known: list[Line]) -> str:
    """What the rates of a default search lose to the best one in the range, in points, by seeds."""
    losses = []
    for place, lines in grouped(known).items():
        entrant = Entrant.parse(json.loads(place)["method"])
        rates = entrant.space["lr"]
        found = {line["lr"]: 100 * line["accuracy"] for line in lines if "refused" not in line}
        if not (isinstance(rates, LogRange) and {rates.low, rates.high} <= found.keys()):
            continue
        ends = [math.log(rate) for rate in sorted(found)]
        accuracies = [found[rate] for rate in sorted(found)]
        best = max(found[rate] for rate in found if rates.low <= rate <= rates.high)
        losses.append([
            best - max(np.interp([math.log(v["lr"]) for v in plan_values(entrant, TRIALS, seed)],
                                 ends, accuracies))
            for seed in range(SEEDS)
        ])  # fmt: skip
    if not losses:
        return ""
    of = np.array(losses)
    return (
        f"The best of {TRIALS} trials is {of.mean():.2f} points below the best rate of its range "
        f"over {len(of)} rows and {SEEDS} seeds ({of[:, 0].mean():.2f} with seed 0); with each "
        f"row's worst seed {of.max(1).mean():.2f}, at most {of.max():.2f}."
    )


def table(known: list[Line]) -> str:
    """A row a model, set, method and change of the recipe, the rates in rising order."""
    groups = grouped(known)
    rows = ["| model, set, shots, method, start | accuracy at each rate | best |", "|---|---|---|"]
    for place, lines in sorted(groups.items()):
        told = json.loads(place)
        named = [str(value) for key, value in told.items() if key in PLACE]
        named += [f"{key}={value}" for key, value in told.items() if key not in PLACE]
        values = ", ".join(named)
        ran = sorted((x for x in lines if "refused" not in x), key=lambda line: line["lr"])
        if not ran:
            rows.append(f"| {values} | refused | |")
            continue
        best = max(ran, key=lambda line: (line["accuracy"], -line["nll"]))
        shown = ", ".join(f"{x['lr']:.1e}: {100 * x['accuracy']:.1f}" for x in ran)
        inside = " (an end)" if best in (ran[0], ran[-1]) else ""
        rows.append(f"| {values} | {shown} | {best['lr']:.1e}{inside} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
