"""One method, one training, one tuning file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from foldtune.analysis.row import Row
from foldtune.backbones import Backbone
from foldtune.console import percent
from foldtune.core.attachment import Attachment
from foldtune.core.method import Method
from foldtune.core.tuningfile import TuningFile
from foldtune.data import ImageData
from foldtune.errors import InputError, unknown_name
from foldtune.methods.catalogue import parse, text_of
from foldtune.options.groups import (
    DataOptions,
    FitOptions,
    HeadOptions,
    ModelOptions,
    TrainOptions,
)
from foldtune.options.taken import non_defaults, of, takes
from foldtune.processes import first
from foldtune.shown import Table, frame, html_table
from foldtune.study.bench.bench import CHECKPOINT, Bench
from foldtune.study.bench.execute import Say
from foldtune.study.bench.onward import Earlier, Onward, backbone_before
from foldtune.study.bench.run import ATTENTIVE, Run
from foldtune.study.inputs import Data, Model, as_backbone, as_data, silent
from foldtune.study.results.artefacts import OF_A_RUN, TUNING, discard
from foldtune.study.search.spaces import Entrant, candidates
from foldtune.study.terms.settings import attentive, default_recipe, recipe_fields
from foldtune.study.tuned.verbs import Merged, merge
from foldtune.training.curve import epoch_line
from foldtune.training.recipe import Recipe
from foldtune.tunings.export.folder import Exported
from foldtune.tunings.files import expand
from foldtune.tunings.predict import answer_of, predict_images
from foldtune.tunings.reading import head_of
from foldtune.tunings.usable import Plain

MODEL, METHOD = "micro", "SSF"  # where neither is said
TRAIN_ON = (("train",), ("train", "val"))


@dataclass(frozen=True, repr=False)
class Fitted:
    """A tuned model. attachment: on a model of its own, `attachment.model`, so that a backbone
    that was given stays plain; backbone: that model, with how it takes images; row: what was
    measured; tuning: the file, where a folder was given."""

    attachment: Attachment
    backbone: Backbone
    row: Row
    data: ImageData
    tuning: Path | None

    def __repr__(self) -> str:
        row = self.row
        return (
            f"Fitted({row['method']} on {row['data']}: validation "
            f"{percent(row.get('val_accuracy'))}, test {percent(row['test_accuracy'])} of "
            f"{row['test_images']:,} images)"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{html_table(self._curve())}"

    def to_pandas(self) -> Any:
        """The curve as a DataFrame, a row an epoch. Raises InputError without pandas."""
        return frame(self._curve())

    def predict(self, images: str | Path | Sequence[str | Path], top: int = 1) -> Table:
        """Of each image file its path and the answer; see `foldtune.predict`."""
        given = [images] if isinstance(images, str | Path) else images
        paths = expand([Path(one) for one in given])
        header = {"classes": list(self.data.outputs), "task": repr(self.data.task)}
        tuned, answer = Plain(self.attachment.model.eval()), answer_of(header, top)
        return Table(predict_images(tuned, self.backbone, paths, answer, self.data.facts))

    def merge(self, out: str | Path, **options: Any) -> Merged | Exported:
        """Write the tuning folded in to `out`; see `foldtune.merge`. Raises InputError where
        `fit` was given no `out`."""
        if self.tuning is None:
            raise InputError("fit(...) kept no tuning; give it out=, or attachment.merge()")
        found = merge(self.tuning, out=out, **options)
        assert isinstance(found, Merged | Exported)
        return found

    def _curve(self) -> list[dict[str, Any]]:
        shown = ("epoch", "loss", "val_accuracy", "lr")
        return [{k: entry.get(k) for k in shown} for entry in self.row["curve"]]


@takes(FitOptions, TrainOptions, HeadOptions, ModelOptions, DataOptions)
def fit(
    data: Data,
    model: Model | None = None,
    method: str | Method | None = None,
    *,
    out: str | Path | None = None,
    start_from: str | Path | None = None,
    recipe: Recipe | None = None,
    allow_hub: bool = False,
    say: Say | None = None,
    allow: Callable[[str], bool] | None = None,
    **options: Any,
) -> Fitted:
    """Tune `model` ("micro" by default) on the train split of `data` with one method (SSF by
    default), watch validation, and read the test split once, after the last epoch.

    recipe: all of how to train, in place of the options about that, by which the method trains 20
    epochs at its own usual learning rate. out: a folder for the tuning, the test logits, and a
    checkpoint from which a killed run resumes; one that holds another run's tuning is refused, or
    with `overwrite` replaced. say: is told a line an epoch, and what is wrong with the data.
    start_from: a tuning to go on from, with its method, on its backbone at any `size` that
    both take, or on one that was loaded; `data` has its classes or more: rows of the classifier
    that it has are kept, new ones start at the probe, and what it was trained on stays out of every
    test. allow_hub: fetch the model that it names, where it is not in the cache; allow: asks in
    place of that. Under torchrun every process calls this alike and gets the same; the first writes
    the files. Raises InputError for bad input and where the training diverges, saying what to try.
    """
    asked, say = of(FitOptions, options), say or silent
    if asked.train_on not in TRAIN_ON:
        known = [" ".join(t) for t in TRAIN_ON]
        raise unknown_name("splits to train on", " ".join(asked.train_on), known)
    head, earlier = head_of(of(HeadOptions, options)), None
    if start_from is not None:
        earlier = _earlier(Path(start_from), model, method, head)
        method, head = earlier.method, earlier.start
        model = model or backbone_before(
            earlier, of(ModelOptions, options), allow or (lambda _name: allow_hub)
        )
        options = {n: v for n, v in options.items() if n not in ("size", "weights")}
    method = method or METHOD
    text = text_of(method)  # one of the caller's own is known from here on
    chosen = method if isinstance(method, Method) else parse(text)
    if head == ATTENTIVE:
        chosen, head = attentive(chosen), None
    recipe = _recipe(chosen, recipe, options)
    backbone = as_backbone(model or MODEL, of(ModelOptions, options))
    images = as_data(data, backbone, asked.seed, of(DataOptions, options), say)
    bench = _bench(earlier, backbone, images, asked, say)
    head = head or chosen.head_start
    run = bench.describe("fit", chosen, recipe, asked.seed, head=head, train_on=asked.train_on)
    folder = None if out is None else Path(out)
    if folder is not None:
        _claim(folder, run, asked.overwrite)
    progress = repr(chosen) if sys.stderr.isatty() and first() else None
    watch = None if progress else lambda entry: say(epoch_line(entry, recipe.epochs))
    attachment, row = bench.tune(run, folder, progress, watch)
    if row["verdict"] != "finished":
        attachment.detach()
        raise InputError(f"{chosen!r} {row['verdict']}")
    return Fitted(attachment, backbone, row, images, None if folder is None else folder / TUNING)


def _earlier(path: Path, model: Model | None, method: object, head: str | None) -> Earlier:
    """The tuning to go on from. Raises InputError for what it says itself."""
    if method is not None or isinstance(model, str):
        raise InputError("--from goes on with the tuning's method and model; leave these out")
    if head is not None:
        raise InputError("going on from a tuning starts at its classifier; leave the head out")
    return Earlier.read(path)


def _bench(
    earlier: Earlier | None, backbone: Backbone, images: ImageData, asked: FitOptions, say: Say
) -> Bench:
    """Where the run is trained; say what a tuning that is gone on from keeps out of validation."""
    if earlier is None:
        return Bench(backbone, images, asked.device, asked.select)
    bench = Onward(earlier, backbone, images, asked.device, asked.select)
    if "val" not in asked.train_on and (line := bench.left_out()):
        say(line)
    return bench


def _claim(folder: Path, run: Run, overwrite: bool) -> None:
    """Raise InputError where the folder holds the tuning of another run, unless it may go."""
    path = folder / TUNING
    if not path.exists():
        return
    try:
        header = TuningFile(path).header
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


def _recipe(method: Method, given: Recipe | None, options: Mapping[str, Any]) -> Recipe:
    """The recipe that was given, or that of the options. Raises InputError for both."""
    named = {n: options[n] for n in ("lr", "weight_decay") if options.get(n) is not None}
    training = of(TrainOptions, options)
    if given is None:
        return replace(recipe_for(method, training.epochs), **recipe_fields(training), **named)
    if twice := [*named, *non_defaults(training)]:
        raise InputError(
            f"the recipe and {', '.join(twice)} both say how to train; set it in the recipe, or "
            "leave the recipe out"
        )
    return given


def recipe_for(method: Method, epochs: int = 20) -> Recipe:
    """The default recipe at the method's usual learning rate."""
    return candidates(Entrant.of(method), default_recipe(epochs), 1, 0)[0][1]
