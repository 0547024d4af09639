"""One method, one training, one tuning file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from foldtune.analysis.row import Row
from foldtune.core.attachment import Attachment
from foldtune.core.method import Method
from foldtune.core.tuningfile import read
from foldtune.data import ImageData
from foldtune.errors import InputError, unknown
from foldtune.processes import first
from foldtune.study.bench.bench import CHECKPOINT, Bench
from foldtune.study.bench.onward import Earlier, Onward
from foldtune.study.bench.run import Run
from foldtune.study.inputs import Data, Model, as_backbone, as_data
from foldtune.study.results.artefacts import OF_A_RUN, TUNING, discard
from foldtune.study.search.spaces import Entrant, candidates
from foldtune.study.settings import default_recipe
from foldtune.training.recipe import Recipe

TRAIN_ON = (("train",), ("train", "val"))


@dataclass(frozen=True)
class Fitted:
    """A tuned model. attachment: on a model of its own, `attachment.model`, so that a backbone that
    was given stays plain; row: what was measured; tuning: the file, where a folder was given."""

    attachment: Attachment
    row: Row
    data: ImageData
    tuning: Path | None


def fit(
    data: Data,
    model: Model = "micro",
    method: str | Method = "SSF",
    *,
    out: str | Path | None = None,
    recipe: Recipe | None = None,
    head: str | None = None,
    train_on: tuple[str, ...] = ("train",),
    seed: int = 0,
    device: str | None = None,
    overwrite: bool = False,
    select: str | None = None,
    task: str | None = None,
    start_from: str | Path | None = None,
) -> Fitted:
    """Tune `model` on the train split of `data` with one method, watch validation, and read the
    test split once, after the last epoch.

    train_on: ("train", "val") trains on validation too, where nothing is left to choose on it: it
    is then not watched.

    recipe: by default 20 epochs at the middle of the method's own range of learning rates. head:
    where the classifier starts, see `Run`; by default where the method has it start. out:
    a folder for the tuning, the test logits, and a checkpoint from which a killed run resumes; one
    that holds another run's tuning is refused, or with `overwrite` replaced.
    select: the metric of the row's figures, by default the task's first. task: what labels say,
    such as `MultiLabel`, by default what they look like.
    start_from: a tuning to go on from, with its method, on the same backbone at any size that both
    take. `data` has its classes or more: rows of the classifier that it has are kept, new ones
    start at the probe, and what it was trained on stays out of every test.
    Under torchrun every process calls this alike and gets the same; the first writes the files.
    Raises InputError for bad input and where the training diverges, saying what to try.
    """
    if train_on not in TRAIN_ON:
        raise unknown("splits to train on", " ".join(train_on), [" ".join(t) for t in TRAIN_ON])
    backbone = as_backbone(model)
    images = as_data(data, backbone, seed, task)
    earlier = None if start_from is None else Earlier.read(Path(start_from))
    chosen = method if isinstance(method, Method) else Entrant.named(method).method
    if earlier is not None:
        if head is not None:
            raise InputError("going on from a tuning starts at its classifier; leave the head out")
        chosen, head = earlier.method, earlier.start
    if recipe is None:
        recipe = recipe_for(chosen)
    bench = (
        Bench(backbone, images, device, select)
        if earlier is None
        else Onward(earlier, backbone, images, device, select)
    )
    run = bench.describe(
        "fit", chosen, recipe, seed, head=head or chosen.head_start, train_on=train_on
    )
    folder = None if out is None else Path(out)
    if folder is not None:
        _claim(folder, run, overwrite)
    progress = repr(chosen) if sys.stderr.isatty() and first() else None
    attachment, row = bench.tune(run, folder, progress)
    if row["verdict"] != "finished":
        attachment.detach()
        raise InputError(f"{chosen!r} {row['verdict']}")
    return Fitted(attachment, row, images, None if folder is None else folder / TUNING)


def _claim(folder: Path, run: Run, overwrite: bool) -> None:
    """Raise InputError where the folder holds the tuning of another run, unless it may go."""
    path = folder / TUNING
    if not path.exists():
        return
    try:
        header, _ = read(path)
        held = f"a tuning of {header['method']}"
        if header.get("training", {}).get("run") == run.key:
            return
    except InputError:
        held = "a tuning that cannot be read"
    if not overwrite:
        raise InputError(
            f"{folder} holds {held}, of another run; name another folder, or replace it with "
            "--overwrite (overwrite=True)"
        )
    if first():
        discard(folder, (*OF_A_RUN, CHECKPOINT))


def recipe_for(method: Method, epochs: int = 20) -> Recipe:
    """The default recipe at the middle of the method's range of learning rates."""
    return candidates(Entrant.named(repr(method)), default_recipe(epochs), 1, 0)[0][1]
