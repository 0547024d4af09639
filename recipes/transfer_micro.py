"""What the weights of `micro` are worth on other tasks, against random weights.

    python recipes/transfer_micro.py --data ../data --out transfer

For each task and both starts (the packaged weights, and random ones) `foldtune.compare` tunes each
method on validation and reads the test split with each seed. Finished runs are kept, so the same
command goes on where it was stopped, and more seeds or trials add to it. `rows.json` holds what is
needed to recompute `table.md`. Tasks: digits and the shapes, in the package; flowers12
(`flowers12-224.zip`) and pacs-photo (`pacs-128.zip`) where `--data` has them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

from cyclopts import App, Parameter
from micro_files import run, write_text

from foldtune.backbones import load_backbone
from foldtune.console import say
from foldtune.data import load_data
from foldtune.errors import InputError, unknown_name
from foldtune.study.compare import compare
from foldtune.study.terms.settings import default_recipe

METHODS = ("LinearProbe", "SSF", "LoRA(rank=8)", "Full")
STARTS = ("random", "micro")
ROWS, TABLE = "rows.json", "table.md"
Names = Annotated[Sequence[str], Parameter(consume_multiple=True)]
app = App(name="transfer_micro.py", help=__doc__, help_format="plaintext")


@dataclass(frozen=True)
class Task:
    """size: side in pixels; archive: the file it comes from, none where it is in the package."""

    name: str
    size: int = 64
    archive: str | None = None
    inside: str = ""  # the folder of the archive that is meant


TASKS = (
    Task("digits", 32),
    Task("shapes/count"),
    Task("shapes/position"),
    Task("shapes/orientation"),
    Task("flowers12", archive="flowers12-224.zip"),
    Task("pacs-photo", archive="pacs-128.zip", inside="photo"),
)


@app.default
def transfer(
    *,
    out: Path,
    data: Path | None = None,
    tasks: Names = tuple(task.name for task in TASKS),
    methods: Names = METHODS,
    trials: int = 3,
    seeds: int = 3,
    epochs: int = 20,
    shots: int | None = None,
    size: int | None = None,
    cache: Path | None = None,
    weights: Path | None = None,
) -> None:
    """Run the study and write rows and table.

    Parameters
    ----------
    out: The folder of the studies.
    data: The folder with the archives.
    tasks: Which tasks.
    methods: Which methods.
    trials: Configurations tried on validation, for each method.
    seeds: Final runs of each method.
    epochs: Of every run.
    shots: Training images a class, and at most as many for validation; by default all.
    size: Side in pixels for every task, for a quick look.
    cache: Folder of decoded images; by default the user's cache.
    weights: Judge this file in the place of the packaged weights.
    """
    for name in tasks:
        if name not in {task.name for task in TASKS}:
            raise unknown_name("task", name, [task.name for task in TASKS])
    rows: list[dict[str, Any]] = []
    for task in (task for task in TASKS if task.name in tasks):
        source = _source(task, data, out)
        if source is None:
            say(f"{task.name} is left out: it needs {task.archive} in --data")
            continue
        side = size or task.size
        images = load_data(source, size=side, cache=cache)
        images = images if shots is None else images.few_shot(shots)
        for start in STARTS:
            backbone = load_backbone(
                "micro", size=side, pretrained=start == "micro",
                weights=weights if start == "micro" else None,
            )  # fmt: skip
            found = compare(
                images, backbone, methods, trials=trials, seeds=seeds,
                recipe=default_recipe(epochs), out=out / task.name.replace("/", "-") / start,
                say=lambda line, where=f"{task.name}, {start}": say(f"{where}: {line}"),
            )  # fmt: skip
            rows += _finals(task.name, start, side, backbone.weights, found.rows)
            write_text(out / ROWS, json.dumps(rows, indent=1) + "\n")
    if not rows:
        raise InputError("no task could be run; see above, or name others with --tasks")
    write_text(out / TABLE, table(rows))
    print(table(rows))


def _finals(
    task: str, start: str, side: int, weights: str, rows: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The test figures of one study, a row a seed."""
    kept = ("label", "seed", "test_accuracy", "test_images", "trainable", "recipe", "data_identity")
    return [
        {"task": task, "start": start, "size": side, "weights": weights, "run": row["run"]}
        | {name: row[name] for name in kept}
        for row in rows
        if row["stage"] == "final" and row["verdict"] == "finished"
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean test accuracy over the seeds, with their standard deviation, in Markdown."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    lines = [
        f"Test accuracy in per cent, mean and standard deviation over seeds {seeds}.",
        "",
        "| task | start | " + " | ".join(labels) + " |",
        "|---|---|" + "---|" * len(labels),
    ]
    for task, start in dict.fromkeys((row["task"], row["start"]) for row in rows):
        cells = []
        for label in labels:
            values = [
                100 * row["test_accuracy"] for row in rows
                if (row["task"], row["start"], row["label"]) == (task, start, label)
            ]  # fmt: skip
            spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{fmean(values):.1f}{spread}" if values else "-")
        lines.append(f"| {task} | {start} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _source(task: Task, data: Path | None, out: Path) -> str | Path | None:
    """What load_data takes for the task, unpacked where only a part is meant; None if absent."""
    if task.archive is None:
        return task.name
    archive = None if data is None else data / task.archive
    if archive is None or not archive.is_file():
        return None
    if not task.inside:
        return archive
    folder = out / "data" / task.name
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if name.startswith(f"{task.inside}/") and not (folder / name).exists():
                file.extract(name, folder)
    return folder / task.inside


if __name__ == "__main__":
    run(app)
