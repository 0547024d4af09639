"""Verbs about robustness: wise, soup."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from foldtune.cli.app import DATA, JSON, MAIN, TUNING, app, hub, words
from foldtune.cli.places import TENSORS_OUT
from foldtune.console import emit, facts, percent, say, table, write
from foldtune.options.groups import DataOptions, FileOptions, JudgeOptions, ShiftOptions
from foldtune.startup import import_hosts


@app.command
def wise(
    tuning: TUNING,
    data: DATA,
    *,
    alphas: Annotated[
        tuple[float, ...], words("From 0 to 1; by default 0, 0.1, ... 1.", group=MAIN)
    ] = (),
    part: Annotated[
        str, words("What moves, while the rest stays tuned: all, body or head.", group=MAIN)
    ] = "all",
    judging: JudgeOptions = JudgeOptions(),
    file: FileOptions = FileOptions(),
    shifts: ShiftOptions = ShiftOptions(),
    reading: DataOptions = DataOptions(),
    json: JSON = False,
) -> None:
    """Judge the models between a TUNING's start (alpha 0) and the tuned one (alpha 1) on DATA and
    under shifts; an alpha is chosen on validation. `merge --alpha` writes one of them.
    """
    from dataclasses import asdict

    import_hosts()
    from foldtune.backbones.prepare import prepare_for
    from foldtune.judging.shift import target_of
    from foldtune.study.tuned.verbs import targets
    from foldtune.tunings.answers import refuse_unless_classes
    from foldtune.tunings.judging import Known, choose, honest_names, validation_rows
    from foldtune.tunings.reading import as_described, mapping_of, read_images
    from foldtune.tunings.tuning import home_target, open_tuning
    from foldtune.tunings.weightspace.wise import ALPHAS, sweep

    attachment, backbone, header = open_tuning(tuning, file.weights, hub(file.allow_hub))
    refuse_unless_classes(header, "the way between start and tuning")
    known, classes = Known.of([tuning], [header]), header["classes"]
    reading = as_described(reading, header.get("data", {}), data)
    images, mapping = read_images(data, backbone, reading, None, say), mapping_of(shifts)
    chosen = choose(known, images, judging.split, included=judging.include_trained)
    rows, why = validation_rows(known, images)
    why = "the split judged is validation" if judging.split == "val" else why
    home = home_target(images, classes, chosen, mapping)
    start = (attachment.head_start or {}).values()
    if part != "body" and start and not any(tensor.any() for tensor in start):
        say(
            "warning: the classifier of this tuning started at zero, so alpha 0 knows no class; "
            "--part body keeps it tuned"
        )
    for note in chosen.notes:
        say(note)
    found = sweep(
        attachment, home, targets(shifts, home, backbone, known, reading, say),
        prepare_for(backbone),
        alphas=alphas or ALPHAS, part=part,
        validation=None if why else target_of("val", images, rows, classes, mapping),
    )  # fmt: skip
    told = asdict(found)
    told["rows"] = [honest_names(row, chosen, ("home",)) for row in found.rows]
    if json:
        emit(told | {"notes": list(chosen.notes), "trained_on": chosen.trained_on})
        return
    _show_way(str(tuning), told, why)


def _show_way(tuning: str, told: dict[str, Any], why: str | None) -> None:
    """The alpha that is chosen, or why none is; a row an alpha; and what moves with it."""
    if why:
        write(f"No alpha is chosen: {why}.")
    else:
        write(
            f"Alpha {told['chosen']:g} is chosen, by validation: 0 is the start, 1 the tuned "
            f"model. Next: foldtune merge {shlex.quote(tuning)} --alpha {told['chosen']:g} "
            "--out FILE"
        )
    table([_as_percent(row) for row in told["rows"]], list(told["rows"][0]))
    moved = {"all": "the method and the classifier", "body": "the method", "head": "the classifier"}
    write(f"What moves with alpha: {moved[told['part']]}, by {'; '.join(told['ways'])}.")


def _as_percent(row: dict[str, Any]) -> dict[str, Any]:
    """Accuracies as people say them; alpha and whether it is on the frontier as they are."""
    plain = ("alpha", "frontier")
    return {k: v if k in plain or not isinstance(v, float) else percent(v) for k, v in row.items()}


@app.command
def soup(
    inputs: Annotated[list[str], words("Two tunings or more, and last DATA.", group=MAIN)],
    /,
    *,
    out: Annotated[TENSORS_OUT, words("The tuning's .safetensors file to write.", group=MAIN)],
    kind: Annotated[
        Literal["greedy", "uniform"],
        words("greedy adds what validation gains by; uniform takes all.", group=MAIN),
    ] = "greedy",
    file: FileOptions = FileOptions(),
    reading: DataOptions = DataOptions(),
    json: JSON = False,
) -> None:
    """Average tunings of one method into one: INPUTS are the tunings and, last, the DATA on whose
    validation split they are judged.
    """
    from dataclasses import asdict
    from pathlib import Path

    from foldtune.errors import InputError
    from foldtune.tunings.reading import as_described, read_images
    from foldtune.tunings.tuning import open_tuning
    from foldtune.tunings.weightspace.soup import soup as run

    if len(inputs) < 3:
        raise InputError("a soup needs two tunings and data: foldtune soup A B DATA --out FILE")
    paths = [Path(text) for text in inputs[:-1]]
    import_hosts()
    attachment, backbone, header = open_tuning(paths[0], file.weights, hub(file.allow_hub))
    attachment.detach()
    reading = as_described(reading, header.get("data", {}), inputs[-1])
    images = read_images(inputs[-1], backbone, reading, None, say)
    made = run(paths, backbone, images, out=out, kind=kind)
    if json:
        emit(asdict(made) | {"path": str(made.path)})
        return
    table(made.members, ("tuning", "validation", "used"))
    facts(
        {
            "soup": str(made.path), "method": made.method, "averaged": made.averaged,
            "validation": made.validation,
        }
    )  # fmt: skip


def show_published(json: bool) -> None:
    """Published robustness, and what becomes of its claim on frontiers."""
    from foldtune.analysis.frontier import reference

    told = reference()
    if json:
        emit(told)
        return
    table(told["methods"], ("method", "ID_imagenet", "V2", "R", "S", "A", "mean_shift"))
    table(told["leads"], ("home", "full", "lora_32", "better"))
    places = ", ".join(f"{place:.2f}" for place in told["changes_places_at"])
    facts({"claim": told["claim"], "frontiers change places at": places})
