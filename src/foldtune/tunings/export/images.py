"""Which images certify, which calibrate, and which tell how sure a model may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.attachment import Attachment
from foldtune.core.tuningfile import TuningFile
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.judging.predict import finite, predict_logits
from foldtune.tasks.kinds import SingleLabel
from foldtune.tasks.task import Task
from foldtune.tunings.answers import task_of
from foldtune.tunings.export.certificate import Witnesses
from foldtune.tunings.judging import Known, choose, validation_rows
from foldtune.tunings.temperature import best_temperature
from foldtune.tunings.tuning import header_of

_CALIBRATING = 128  # training images from which ranges of 8-bit graphs are found


def witnesses_of(
    tuning: TuningFile,
    attachment: Attachment,
    backbone: Backbone,
    data: ImageData,
    classes: Sequence[str],
    most: int,
    task: Task,
) -> Witnesses:
    """What certifies: images that were not trained on, where there are any.

    task: of the outputs that the attached model gives.
    """
    known = Known.of([tuning], [header_of(tuning)])
    try:
        rows = choose(known, data).rows
    except InputError:  # all were trained on: they show what the folding does all the same
        rows = data.split(*data.splits)
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    trained_on = int(known.is_seen(data, rows).sum())
    logits = predict_logits(attachment.model, data.pixels, rows, prepare_for(backbone))
    used, places = np.unique(data.labels[rows], return_inverse=True)
    try:
        targets = task.targets([data.classes[label] for label in used], places, classes)
    except InputError:  # images of other classes: what changes shows on them all the same
        targets = None
    pixels = np.asarray(data.pixels[rows])
    return Witnesses(pixels, targets, finite(logits, tuning.path), trained_on, task)


def temperature_of(
    tuning: TuningFile,
    header: Mapping[str, Any],
    model: nn.Module,
    backbone: Backbone,
    data: ImageData,
) -> float | None:
    """By which logits are divided, found on validation images that were not trained on."""
    rows, _ = validation_rows(Known.of([tuning], [header]), data)
    same = list(data.classes) == list(header["classes"])
    if not len(rows) or not same or not isinstance(task_of(header), SingleLabel):
        return None
    logits = predict_logits(model, data.pixels, rows, prepare_for(backbone))
    return best_temperature(logits, torch.from_numpy(data.labels[rows]))


def calibrating(tuning: TuningFile, data: ImageData, taken: Any) -> list[np.ndarray]:
    """Batches of the images that training saw."""
    rows = data.split(*data.splits)
    rows = rows[Known.of([tuning], [header_of(tuning)]).is_seen(data, rows)]
    if not len(rows):
        raise InputError(
            f"none of the images of {data.name} were trained on, and from these the ranges of 8 "
            "bits are found; give the data that the tuning was made with"
        )
    spread = rows[np.linspace(0, len(rows) - 1, min(_CALIBRATING, len(rows))).astype(int)]
    parts = [spread[at : at + 16] for at in range(0, len(spread), 16)]
    return [taken(np.asarray(data.pixels[part])).numpy() for part in parts]
