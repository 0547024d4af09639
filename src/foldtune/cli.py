"""The command line: verbs only. Each imports what it needs, so that --help needs nothing."""

from __future__ import annotations

import errno
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from foldtune import __version__
from foldtune.console import emit, facts, say, table
from foldtune.errors import InputError

if TYPE_CHECKING:
    from foldtune.backbones import Backbone
    from foldtune.data import ImageData

app = App(
    name="foldtune",
    version=__version__,
    help_format="plaintext",
    help="Fine-tune a frozen vision backbone, compare methods fairly, fold the winner back in.",
)


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """Which weights the model has, and what size of image it takes."""

    weights: Path | None = None  #: A .safetensors, .npz or .pth file in place of published weights.
    pretrained: bool = True  #: Published or embedded weights; --no-pretrained draws random ones.
    size: int | None = None  #: Side of the input in pixels, where the model takes another.

    def load(self, name: str) -> Backbone:
        from foldtune.backbones import load_backbone

        return load_backbone(name, weights=self.weights, pretrained=self.pretrained, size=self.size)


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """How images are read."""

    skip_broken: bool = False  #: Leave unreadable images out instead of refusing the data.
    resize: str | None = None  #: squash (to the square) or crop (the centre).
    shots: int | None = None  #: Images a class for training, and at most as many for validation.
    cache: Path | None = None  #: Folder of decoded images; by default the user's cache.

    def load(self, spec: str, backbone: Backbone, seed: int = 0) -> ImageData:
        from foldtune.data import load_data

        transform = backbone.transform
        data = load_data(
            spec, size=transform.size, interpolation=transform.interpolation,
            resize=self.resize or transform.resize, seed=seed, skip_broken=self.skip_broken,
            cache=self.cache,
        )  # fmt: skip
        for name, reason in data.facts["skipped"].items():
            say(f"skipped {name}: {reason}")
        return data if self.shots is None else data.few_shot(self.shots, seed)


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions:
    """How to train."""

    epochs: int = 20  #: Passes over the training images.
    batch_size: int = 64  #: Images per step.
    augment: tuple[str, ...] = ()  #: flip, crop; none by default.
    drop_path: float = 0.0  #: Rate of the deepest block.
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    clip_norm: float | None = None  #: Largest norm of the whole gradient.
    precision: str = "fp32"  #: fp32, bf16 or fp16.

    def changes(self) -> dict[str, Any]:
        from dataclasses import asdict

        from foldtune.study.settings import warmup

        return asdict(self) | {"warmup_epochs": warmup(self.epochs)}


JSON = Annotated[bool, Parameter(name="--json", negative="")]
_MODEL, _DATA, _TRAIN = ModelOptions(), DataOptions(), TrainOptions()


@app.command
def sites(model: str, *, options: ModelOptions = _MODEL, json: JSON = False) -> None:
    """Show the named places of MODEL where methods stand."""
    from dataclasses import asdict

    from foldtune.core.head import find_head
    from foldtune.core.sites import find_sites

    backbone = options.load(model)
    found = find_sites(backbone.model, backbone.example(), find_head(backbone.model))
    rows = [asdict(site) for site in found]
    columns = ("path", "role", "depth", "channels", "called", "layout", "weight", "bias")
    emit(rows) if json else table(rows, columns)


@app.command
def methods(*, json: JSON = False) -> None:
    """Show the catalogue of methods with their settings."""
    from foldtune.methods.catalogue import cards

    rows = cards()
    emit(rows) if json else table(rows, ("method", "what", "settings"))


@app.command
def inspect(
    model: str,
    *,
    method: str,
    classes: int | None = None,
    options: ModelOptions = _MODEL,
    json: JSON = False,
) -> None:
    """Show what METHOD would train on MODEL, after a dry run forward and backward."""
    from collections import Counter

    from foldtune.core.attach import attach
    from foldtune.methods.catalogue import parse

    chosen = parse(method)
    attachment = attach(options.load(model), chosen, num_classes=classes, seed=0)
    told = {
        "model": model,
        "method": repr(chosen),
        "trainable": attachment.trainable,
        "head": attachment.head_size,
        "total": sum(p.numel() for p in attachment.model.parameters()),
        "mergeable": attachment.mergeable,
        "starts_as_identity": chosen.starts_as_identity,
        "edits": len(attachment.edits),
        "edit_kinds": dict(Counter(type(e).__name__ for e in attachment.edits)),
    }
    emit(told) if json else facts(told)


@app.command
def fit(
    data: str,
    *,
    out: Path,
    model: str = "micro",
    method: str = "SSF",
    lr: float | None = None,
    weight_decay: float | None = None,
    head: str = "probe",
    seed: int = 0,
    device: str | None = None,
    options: ModelOptions = _MODEL,
    reading: DataOptions = _DATA,
    training: TrainOptions = _TRAIN,
    json: JSON = False,
) -> None:
    """Tune MODEL on DATA with one METHOD and write the tuning to OUT.

    DATA: a folder of class folders (or of train/val/test folders of them), the same in a .zip, a
    .csv or .parquet of path and label, or digits, shapes/count, shapes/position,
    shapes/orientation.
    """
    from dataclasses import replace

    from foldtune.methods.catalogue import parse
    from foldtune.study.fit import fit as run
    from foldtune.study.fit import recipe_for

    chosen = parse(method)
    named = {"lr": lr, "weight_decay": weight_decay}
    recipe = replace(
        recipe_for(chosen, training.epochs),
        **training.changes() | {k: v for k, v in named.items() if v is not None},
    )
    backbone = options.load(model)
    images = reading.load(data, backbone, seed)
    fitted = run(
        images, backbone, chosen, out=out, recipe=recipe, head=head, seed=seed, device=device
    )
    row = fitted.row
    told = {
        "method": row["method"],
        "validation": row["val_accuracy"],
        "test": row["test_accuracy"],
        "test_images": row["test_images"],
        "trainable": row["trainable"],
        "head": row["head"],
        "seconds": row["seconds"],
        "tuning": str(fitted.tuning),
    }
    emit(told | {"row": row}) if json else facts(told)


@app.command(name="eval")
def evaluate(
    tuning: Path,
    data: str,
    *,
    split: str = "test",
    weights: Path | None = None,
    reading: DataOptions = _DATA,
    json: JSON = False,
) -> None:
    """Judge a TUNING on a split of DATA (train, val, test or all)."""
    from foldtune.study.tunings import evaluate_tuning, opened

    attachment, backbone, header = opened(tuning, weights)
    images = reading.load(data, backbone, header.get("data", {}).get("seed") or 0)
    told = evaluate_tuning(attachment, backbone, images, header["classes"], split)
    emit(told) if json else facts(told)


@app.command
def predict(
    tuning: Path, images: list[Path], /, *, weights: Path | None = None, json: JSON = False
) -> None:
    """Name the class of each of IMAGES with a TUNING."""
    from foldtune.study.tunings import opened, predict_images

    attachment, backbone, header = opened(tuning, weights)
    told = list(predict_images(attachment.model, backbone, images, header["classes"]))
    emit(told) if json else table(told, ("image", "class", "probability"))


@app.command
def merge(
    tuning: Path,
    *,
    out: Path,
    data: str | None = None,
    weights: Path | None = None,
    reading: DataOptions = _DATA,
    json: JSON = False,
) -> None:
    """Fold a TUNING into its backbone; write a plain state dict that the host library loads.

    The certificate compares logits over real images: of DATA, or of the data it was trained on.
    """
    from foldtune.study.tunings import merge_tuning, opened

    attachment, backbone, header = opened(tuning, weights)
    attachment.detach()
    trained_on = header.get("data", {})
    source = data or trained_on.get("source") or "shapes/count"
    images = reading.load(source, backbone, trained_on.get("seed") or 0)
    certificate = merge_tuning(tuning, out, backbone, images)
    told = {"merged": str(out), "certificate": str(certificate), "images": images.name}
    emit(told | certificate.__dict__) if json else facts(told)


@app.command
def compare(
    data: str,
    *,
    out: Path,
    model: str = "micro",
    methods: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    trials: int = 4,
    seeds: int = 3,
    head: str = "probe",
    seed: int = 0,
    device: str | None = None,
    options: ModelOptions = _MODEL,
    reading: DataOptions = _DATA,
    training: TrainOptions = _TRAIN,
    json: JSON = False,
) -> None:
    """Tune every method with the same budget on DATA's validation split, test each one's best,
    merge the winner, and write a report. Call it again with more methods or trials: finished
    runs are kept.
    """
    from foldtune.report.page import write_report
    from foldtune.study.compare import compare as run
    from foldtune.study.settings import METHODS
    from foldtune.training.recipe import Recipe

    backbone = options.load(model)
    images = reading.load(data, backbone, seed)
    found = run(
        images, backbone, methods or METHODS, out=out, trials=trials, seeds=seeds,
        recipe=Recipe(**training.changes()), head=head, seed=seed,
        device=device, say=say, command=shlex.join(["foldtune", *sys.argv[1:]]),
    )  # fmt: skip
    report = write_report(out)
    told = {
        "winner": found.winner and found.winner["label"],
        "report": str(report),
        "merged": found.merged and str(found.merged),
        "merged_method": found.merged_label,
        "certificate": found.certificate and str(found.certificate),
    }
    if json:
        emit(told | {"leaderboard": list(found.leaderboard)})
        return
    columns = ("label", "val_accuracy", "test_accuracy", "low", "high", "seeds", "trainable")
    table(found.leaderboard, columns)
    facts(told)


@app.command
def demo(*, out: Path = Path("foldtune-demo"), data: str = "digits", json: JSON = False) -> None:
    """Compare seven methods on embedded images with the embedded backbone; needs no network."""
    compare(
        data, out=out, trials=2, seeds=1, options=ModelOptions(size=32),
        reading=DataOptions(shots=32), training=TrainOptions(epochs=6), json=json,
    )  # fmt: skip


@app.command
def report(study: Path) -> None:
    """Write the report of a STUDY folder again, from its rows."""
    from foldtune.report.page import write_report

    print(write_report(study))


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    from cyclopts import CycloptsError

    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except InputError as error:
        say(f"error: {error}")
        sys.exit(2)
    except CycloptsError as error:
        line = " ".join(str(error).split())
        say(f"error: {line} (foldtune {' '.join(sys.argv[1:2])} --help)")
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        say(f"error: no space left on the device ({error.filename}); free some and call again")
        sys.exit(2)
    except KeyboardInterrupt:
        say("stopped; call the same command again to go on from the last finished epoch")
        sys.exit(130)
