"""Verbs about what methods cost: cost."""

from __future__ import annotations

from typing import Annotated

from foldtune.cli.app import JSON, MAIN, app, words
from foldtune.cli.models import MODEL, load
from foldtune.console import emit, table
from foldtune.options.groups import ModelOptions


@app.command
def cost(
    model: MODEL,
    *,
    methods: Annotated[
        tuple[str, ...], words("By default the seven that compare takes.", group=MAIN)
    ] = (),
    classes: Annotated[int, words("Of the classifier.")] = 10,
    batch: Annotated[int, words("Images of a step that is timed.")] = 8,
    precision: Annotated[
        str, words("Of what is counted: fp32, tf32, bf16, bf16-kept, fp16.")
    ] = "fp32",
    rounds: Annotated[int, words("Steps to time, each beside a forward pass; 0 counts only.")] = 0,
    options: ModelOptions = ModelOptions(),
    json: JSON = False,
) -> None:
    """Count what a training step of each method on MODEL costs: operations and activations kept.

    With --rounds N also time N steps of --batch images beside as many forward passes of the
    untouched model, in turn.
    """
    from foldtune.errors import unknown_name
    from foldtune.options.names import check_method
    from foldtune.training.recipe import PRECISIONS

    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    for text in methods:
        check_method(text)
    backbone = load(model, options)
    from foldtune.core.attach import attach
    from foldtune.judging.counters import count
    from foldtune.judging.steptime import step_over_forward
    from foldtune.methods.catalogue import parse
    from foldtune.study.terms.settings import METHODS

    rows = []
    for text in methods or METHODS:
        attachment = attach(backbone, parse(text), num_classes=classes, seed=0)
        counts = count(backbone.model, backbone.example(2), precision)
        row = {
            "method": text,
            "trainable": attachment.trainable,
            "forward_gflop": counts.forward_flops / 1e9,
            "backward_gflop": counts.backward_flops / 1e9,
            "saved_mib": counts.saved_bytes / 2**20,
            "step_mib": counts.step_bytes / 2**20,
            "counted_step_over_forward": counts.step_over_forward,
        }
        if rounds:
            timed = step_over_forward(attachment, backbone.example(batch), rounds)
            row |= {"step_over_forward": timed.median, "step_seconds": timed.step_seconds}
        attachment.detach()
        rows.append(row)
    emit(rows) if json else table(rows, tuple(rows[0]))
