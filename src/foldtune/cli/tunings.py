"""Verbs about one tuning: fit, eval, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from foldtune.cli.app import DATA, JSON, MAIN, MODEL_NAME, TUNED, TUNING, app, hub, words
from foldtune.cli.out.export import tell_export
from foldtune.cli.places import FIT_OUT, MERGE_OUT
from foldtune.cli.shown.judged import show_fit, show_judged
from foldtune.console import emit, facts, say
from foldtune.options.groups import (
    AnswerOptions,
    DataOptions,
    FileOptions,
    FitOptions,
    HeadOptions,
    JudgeOptions,
    ModelOptions,
    PointOptions,
    ShiftOptions,
    TrainOptions,
)
from foldtune.options.taken import non_defaults
from foldtune.startup import import_hosts

_OF_METHOD = (
    'A method\'s name, or spelled with settings: "LoRA(rank=8)"; see foldtune methods; by default '
    "SSF."
)
_OF_START = (
    "A tuning to go on from, on its backbone, with its method, the same classes or more; what it "
    "was trained on stays out of every test."
)
_OF_HUB = "Fetch the model that the tuning of --from names, where it is not in the cache."
_OF_BASELINE = "A CSV with columns home and one a shift, a baseline model in each row, for \
effective robustness."


@app.command
def fit(
    data: DATA,
    *,
    out: Annotated[FIT_OUT, words("A folder for the tuning and its test logits.", group=MAIN)],
    model: MODEL_NAME | None = None,
    method: Annotated[str | None, words(_OF_METHOD, group=MAIN)] = None,
    start_from: Annotated[Path | None, words(_OF_START, name="--from")] = None,
    own: FitOptions = FitOptions(),
    training: TrainOptions = TrainOptions(),
    starting: HeadOptions = HeadOptions(),
    options: ModelOptions = ModelOptions(),
    allow_hub: Annotated[bool, words(_OF_HUB)] = False,
    reading: DataOptions = DataOptions(),
    json: JSON = False,
) -> None:
    """Tune MODEL (micro unless said) on DATA with one METHOD and write the tuning to OUT."""
    from foldtune.options.names import check_method, check_model

    if model is not None:
        check_model(model)
    if method is not None:
        check_method(method)
    import_hosts()
    from foldtune.study.fit import fit as run
    from foldtune.tunings.judging import tested_lines

    asked = non_defaults(own, training, starting, options, reading)
    found = run(
        data, model, method, out=out, start_from=start_from, say=say, allow=hub(allow_hub), **asked
    )
    for line in tested_lines([found.row]):
        say(line)
    if not json:
        show_fit(found, data)
        return
    row = found.row
    told = {
        "method": row["method"],
        **({"metric": row["metric"]} if "metric" in row else {}),
        "validation": row.get("val_accuracy"),
        "test": row["test_accuracy"],
        "test_images": row["test_images"],
        "trainable": row["trainable"],
        "head": row["head"],
        "seconds": row["seconds"],
        "tuning": str(found.tuning),
    }
    emit(told | {"row": row, "ledger": found.data.facts["ledger"]})


@app.command(name="eval")
def evaluate(
    tuning: TUNED,
    data: DATA,
    *,
    baseline: Annotated[Path | None, words(_OF_BASELINE)] = None,
    judging: JudgeOptions = JudgeOptions(),
    answering: AnswerOptions = AnswerOptions(),
    shifts: ShiftOptions = ShiftOptions(),
    file: FileOptions = FileOptions(),
    reading: DataOptions = DataOptions(),
    json: JSON = False,
) -> None:
    """Judge a TUNING, or a saved ensemble, on DATA; a tuning also under shifts.

    Of the data it was made with the test images are judged, of other data all. Images that it was
    trained on are left out and counted. Classes are found by name, or by --map; one without an
    image is fine.
    """
    import_hosts()
    from foldtune.study.tuned.verbs import evaluate as run

    asked = non_defaults(judging, answering, shifts, file, reading)
    told = run(tuning, data, baseline=baseline, say=say, allow=hub(file.allow_hub), **asked)
    for note in told["notes"]:
        say(note)
    emit(told) if json else show_judged(told)


@app.command
def merge(
    tuning: TUNING,
    *,
    out: Annotated[
        MERGE_OUT,
        words("The .safetensors file to write; or a folder, as export writes it.", group=MAIN),
    ],
    data: Annotated[
        str | None,
        words("Images for the certificate; by default those it was trained on.", group=MAIN),
    ] = None,
    point: PointOptions = PointOptions(),
    file: FileOptions = FileOptions(),
    reading: DataOptions = DataOptions(),
    json: JSON = False,
) -> None:
    """Fold a TUNING into its backbone; write a plain state dict that the host library loads, or,
    where OUT is a folder or has no suffix, a folder as `export` does.

    The certificate compares logits over real images.
    """
    import_hosts()
    from foldtune.study.tuned.verbs import Merged
    from foldtune.study.tuned.verbs import merge as run
    from foldtune.tunings.export.folder import Exported

    asked = non_defaults(point, file, reading)
    found = run(tuning, out=out, data=data, say=say, allow=hub(file.allow_hub), **asked)
    assert isinstance(found, Merged | Exported)  # of a file always
    if isinstance(found, Exported):
        tell_export({"merged": str(out), "loaded_by": found.kind}, found, json)
        return
    told = {"merged": str(out), "certificate": str(found.certificate), "images": found.data}
    emit(told | found.certificate.__dict__) if json else facts(told)
