"""Verbs about one tuning: fit, eval, merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foldtune.cli.app import (
    DATA,
    HEAD,
    JSON,
    MODEL,
    MODEL_NAME,
    SHIFTS,
    TRAIN,
    TRUST,
    DataOptions,
    HeadOptions,
    ModelOptions,
    ShiftOptions,
    TrainOptions,
    TrustOptions,
    app,
)
from foldtune.cli.places import FIT_OUT, MERGE_OUT, SEED, names_folder
from foldtune.console import emit, facts, say, table, write
from foldtune.startup import import_hosts

if TYPE_CHECKING:
    from foldtune.tunings.judging import Chosen


@app.command
def fit(
    data: str,
    *,
    out: FIT_OUT,
    model: MODEL_NAME | None = None,
    method: str | None = None,
    start_from: Annotated[Path | None, Parameter(name="--from")] = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    train_on: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ("train",),
    seed: SEED = 0,
    device: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    select: str | None = None,
    starting: HeadOptions = HEAD,
    options: ModelOptions = MODEL,
    reading: DataOptions = DATA,
    training: TrainOptions = TRAIN,
    trust: TrustOptions = TRUST,
    json: JSON = False,
) -> None:
    """Tune MODEL (micro unless said) on DATA with one METHOD and write the tuning to OUT.

    DATA: a folder of class folders (or of train/val/test folders of them), the same in a .zip, a
    .csv or .parquet of path and label, a set by name (foldtune data sets), or digits,
    shapes/count, shapes/position, shapes/orientation. train-on: `train val` trains on validation
    too, which is then not watched. overwrite: where OUT holds another run's tuning, replace it.
    select: the metric of validation and test, by default the task's first. method: SSF unless said.
    from: a tuning to go on from, on its backbone, with its method, the same classes or more.
    """
    from dataclasses import replace

    from foldtune.errors import InputError
    from foldtune.methods.catalogue import parse
    from foldtune.study.fit import fit as run
    from foldtune.study.fit import recipe_for
    from foldtune.tunings.judging import tested_lines
    from foldtune.tunings.tuning import backbone_for, header_of

    if start_from is not None and (method or model is not None):
        raise InputError("--from goes on with the tuning's method and model; leave these out")
    earlier = None if start_from is None else header_of(start_from)
    chosen = parse(method or (earlier["method"] if earlier else "SSF"))
    named = {"lr": lr, "weight_decay": weight_decay}
    recipe = replace(
        recipe_for(chosen, training.epochs),
        **training.changes() | {k: v for k, v in named.items() if v is not None},
    )
    if earlier is None:
        backbone = options.load(model or "micro")
    else:
        backbone = backbone_for(options.at_size(earlier), options.weights, trust.hub)
    images = reading.load(data, backbone, seed)
    fitted = run(
        images, backbone, chosen, out=out, recipe=recipe, head=starting.start(), train_on=train_on,
        seed=seed, device=device, overwrite=overwrite, select=select, start_from=start_from,
    )  # fmt: skip
    row = fitted.row
    for line in tested_lines([row]):
        say(line)
    told = {
        "method": row["method"],
        **({"metric": row["metric"]} if "metric" in row else {}),
        "validation": row.get("val_accuracy"),
        "test": row["test_accuracy"],
        "test_images": row["test_images"],
        "trainable": row["trainable"],
        "head": row["head"],
        "seconds": row["seconds"],
        "tuning": str(fitted.tuning),
    }
    emit(told | {"row": row, "ledger": images.facts["ledger"]}) if json else facts(told)


@app.command(name="eval")
def evaluate(
    tuning: Path,
    data: str,
    *,
    split: str | None = None,
    include_trained: bool = False,
    baseline: Path | None = None,
    tta: str | None = None,
    weights: Path | None = None,
    trust: TrustOptions = TRUST,
    shifts: ShiftOptions = SHIFTS,
    reading: DataOptions = DATA,
    json: JSON = False,
) -> None:
    """Judge a TUNING, or a saved ensemble, on DATA; a tuning also under shifts.

    Of the data it was made with the test images are judged, of other data all. Images that it was
    trained on are left out and counted. Classes are found by name, or by --map; one without an
    image is fine.

    split: train, val or test, of other data as given; or all. include_trained: judge what it was
    trained on, too; the figures' names say so. baseline: a CSV with columns home and one a shift, a
    baseline model in each row, for effective robustness. tta: flip, to answer by the mean over each
    image and its mirror image.
    """
    from foldtune.errors import InputError
    from foldtune.study.ensembles import evaluate_ensemble, is_ensemble, known_of, open_ensemble
    from foldtune.tunings.answers import refuse_unless_classes, task_of
    from foldtune.tunings.hub import local
    from foldtune.tunings.judging import Known, choose, honest_names
    from foldtune.tunings.tuning import (
        backbone_for,
        evaluate_away,
        evaluate_tuning,
        home_target,
    )
    from foldtune.tunings.usable import usable

    import_hosts()
    tuning = local(tuning)
    if is_ensemble(tuning):
        if shifts.shift or shifts.corrupt or baseline:
            raise InputError(f"{tuning} is an ensemble; shifts are judged of one tuning at a time")
        ensemble = open_ensemble(tuning)
        backbone, known = backbone_for(ensemble.header, weights, trust.hub), known_of(ensemble)
        reading = reading.as_described(known.header.get("data", {}), data)
        images = reading.judge(data, backbone)
        chosen = choose(known, images, split, included=include_trained)
        told = evaluate_ensemble(ensemble, backbone, images, chosen, shifts.mapping())
        _tell(told, chosen, json)
        return
    attachment, backbone, header = usable(tuning, weights, trust.hub)
    known, classes = Known.of([tuning], [header]), header["classes"]
    task = task_of(header)
    reading = reading.as_described(header.get("data", {}), data).of_task(header.get("task"))
    images = reading.judge(data, backbone)
    chosen = choose(known, images, split, included=include_trained)
    mapping = shifts.mapping()
    told = evaluate_tuning(attachment, backbone, images, classes, chosen, mapping, task, tta)
    if not task.usual:
        if shifts.shift or shifts.corrupt or baseline:
            refuse_unless_classes(header, "a shift")
        _tell(told, chosen, json)
        return
    away = evaluate_away(
        attachment, backbone, home_target(images, classes, chosen, mapping), baseline,
        lambda home: shifts.targets(home, backbone, known, reading),
    )  # fmt: skip
    of_home = ("home", "drop", "predicted", "effective")
    away["shifts"] = [honest_names(row, chosen, of_home) for row in away["shifts"]]
    _tell(told, chosen, json, away)
    if not json:
        _show_away(away, list(honest_names(dict.fromkeys(of_home), chosen)))


_CLASSES = 40  # of a table


def _estimated(value: dict[str, Any]) -> str:
    if value["value"] is None:
        return "–"
    if value["low"] is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _show_away(away: dict[str, Any], of_home: list[str]) -> None:
    """Tables of shifts, with their columns about home, and of corruptions."""
    if away["shifts"]:
        columns = ("shift", "images", "classes", "top1", *of_home)
        table(away["shifts"], [c for c in columns if any(c in row for row in away["shifts"])])
    if away["corruptions"]:
        facts(away["corruptions"])


def _tell(
    told: dict[str, Any], chosen: Chosen, json: bool, away: dict[str, Any] | None = None
) -> None:
    """The figures of what was judged, after what must be known of them."""
    for note in chosen.notes:
        say(note)
    if json:
        emit(told | {"notes": list(chosen.notes)} | (away or {}))
        return
    if "absent" in told:
        told["absent"] = ", ".join(told["absent"])
    kept = [name for name in told if name.startswith("judgement")]
    close: dict[str, Any] = told.pop(kept[0]) if kept else {}
    facts(told)
    if classes := close.get("classes"):
        rows = [
            {**row, **{k: _estimated(row[k]) for k in ("recall", "precision")}} for row in classes
        ]
        table(rows[:_CLASSES], ("class", "images", "recall", "precision"))
    for one in close.get("confusions", ())[:3]:
        write(f"{one['images']:g} of {one['truth']} are called {one['said']} ({one['share']:.0%})")
    for one in close.get("left_out", ())[1:]:
        write(f"without the {one['left_out']:.0%} least sure: {one['accuracy']:.1%} are right")


@app.command
def merge(
    tuning: Path,
    *,
    out: MERGE_OUT,
    data: str | None = None,
    alpha: float = 1.0,
    part: str = "all",
    weights: Path | None = None,
    trust: TrustOptions = TRUST,
    reading: DataOptions = DATA,
    json: JSON = False,
) -> None:
    """Fold a TUNING into its backbone; write a plain state dict that the host library loads, or,
    where OUT is a folder or has no suffix, a folder as `export` does.

    The certificate compares logits over real images: of DATA, or of the data it was trained on.
    alpha: below 1, the model that far from the start, see `wise`.
    """
    from foldtune.cli.out.export import merged_folder
    from foldtune.errors import InputError
    from foldtune.tunings.tuning import merge_tuning, opened
    from foldtune.tunings.wise import point_of

    import_hosts()
    attachment, backbone, header = opened(tuning, weights, trust.hub)
    attachment.detach()
    trained_on = header.get("data", {})
    source = data or trained_on.get("source") or "shapes/count"
    if data is None and source.startswith("hf:") and not trust.hub(source):
        raise InputError(
            f"{tuning} was trained on {source}, which is on the hub; give images with --data, or "
            "have them fetched with --allow-hub"
        )
    reading = reading.as_described(trained_on, source).of_task(header.get("task"))
    images = reading.judge(source, backbone)
    if names_folder(out) and attachment.mergeable:
        merged_folder(tuning, out, backbone, images, alpha, json)
        return
    certificate = merge_tuning(tuning, out, backbone, images, point_of(part, alpha))
    told = {"merged": str(out), "certificate": str(certificate), "images": images.name}
    emit(told | certificate.__dict__) if json else facts(told)
