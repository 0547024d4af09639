"""Verbs about robustness: wise, soup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foldtune.cli.app import (
    DATA,
    JSON,
    SHIFTS,
    TRUST,
    DataOptions,
    ShiftOptions,
    TrustOptions,
    app,
)
from foldtune.cli.places import TENSORS_OUT
from foldtune.console import emit, facts, say, table
from foldtune.startup import import_hosts


@app.command
def wise(
    tuning: Path,
    data: str,
    *,
    alphas: Annotated[tuple[float, ...], Parameter(consume_multiple=True)] = (),
    part: str = "all",
    split: str | None = None,
    include_trained: bool = False,
    weights: Path | None = None,
    trust: TrustOptions = TRUST,
    shifts: ShiftOptions = SHIFTS,
    reading: DataOptions = DATA,
    json: JSON = False,
) -> None:
    """Judge the models between a TUNING's start (alpha 0) and the tuned one (alpha 1) on DATA and
    under shifts; an alpha is chosen on validation. `merge --alpha` writes one of them.

    part: all, body or head: what moves, while the rest stays tuned. split, include_trained: as of
    `eval`.
    """
    from dataclasses import asdict

    from foldtune.backbones.prepare import prepare_for
    from foldtune.judging.shift import target_of
    from foldtune.tunings.answers import refuse_unless_classes
    from foldtune.tunings.judging import Known, choose, honest_names, validation_rows
    from foldtune.tunings.tuning import home_target, opened
    from foldtune.tunings.wise import ALPHAS, sweep

    import_hosts()
    attachment, backbone, header = opened(tuning, weights, trust.hub)
    refuse_unless_classes(header, "the way between start and tuning")
    known, classes = Known.of([tuning], [header]), header["classes"]
    reading = reading.as_described(header.get("data", {}), data)
    images, mapping = reading.judge(data, backbone), shifts.mapping()
    chosen = choose(known, images, split, included=include_trained)
    rows, why = validation_rows(known, images)
    why = "the split judged is validation" if split == "val" else why
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
        attachment, home, shifts.targets(home, backbone, known, reading), prepare_for(backbone),
        alphas=alphas or ALPHAS, part=part,
        validation=None if why else target_of("val", images, rows, classes, mapping),
    )  # fmt: skip
    told = asdict(found)
    told["rows"] = [honest_names(row, chosen, ("home",)) for row in found.rows]
    if json:
        emit(told | {"notes": list(chosen.notes), "trained_on": chosen.trained_on})
        return
    table(told["rows"], list(told["rows"][0]))
    reason = f"none chosen: {why}" if why else "chosen on validation"
    facts({"moves": found.part, "by": "; ".join(found.ways), f"alpha ({reason})": found.chosen})


@app.command
def soup(
    inputs: list[str],
    /,
    *,
    out: TENSORS_OUT,
    kind: Literal["greedy", "uniform"] = "greedy",
    weights: Path | None = None,
    trust: TrustOptions = TRUST,
    reading: DataOptions = DATA,
    json: JSON = False,
) -> None:
    """Average tunings of one method into one: INPUTS are the tunings and, last, the DATA on whose
    validation split they are judged.
    """
    from dataclasses import asdict

    from foldtune.errors import InputError
    from foldtune.tunings.soup import soup as run
    from foldtune.tunings.tuning import opened

    if len(inputs) < 3:
        raise InputError("a soup needs two tunings and data: foldtune soup A B DATA --out FILE")
    paths = [Path(text) for text in inputs[:-1]]
    import_hosts()
    attachment, backbone, header = opened(paths[0], weights, trust.hub)
    attachment.detach()
    reading = reading.as_described(header.get("data", {}), inputs[-1])
    images = reading.judge(inputs[-1], backbone)
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
