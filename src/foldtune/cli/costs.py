"""Verbs about what methods cost: cost."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from foldtune.cli.app import JSON, MODEL, ModelOptions, app
from foldtune.console import emit, table


@app.command
def cost(
    model: str,
    *,
    methods: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    classes: int = 10,
    batch: int = 8,
    rounds: int = 0,
    options: ModelOptions = MODEL,
    json: JSON = False,
) -> None:
    """Count what a training step of each method on MODEL costs: operations and activations kept.

    With --rounds N also time N steps of --batch images beside as many forward passes of the
    untouched model, in turn.
    """
    from foldtune.core.attach import attach
    from foldtune.judging.counters import count
    from foldtune.judging.steptime import step_over_forward
    from foldtune.methods.catalogue import parse
    from foldtune.study.settings import METHODS

    backbone = options.load(model)
    rows = []
    for text in methods or METHODS:
        attachment = attach(backbone, parse(text), num_classes=classes, seed=0)
        counts = count(backbone.model, backbone.example(2))
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
