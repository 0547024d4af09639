"""How many bytes a run or a study will write, asked of the disk before the work is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from foldtune.core.attachment import Attachment
from foldtune.data import ImageData
from foldtune.files import refuse_full
from foldtune.study.results.logits import KEPT

_FLOAT = 4  # bytes of a stored number
_CHECKPOINT = 3  # weights and two moments of what is trained
_SMALL = 1 << 20  # what rows, names and headers take


def size_of(model: nn.Module) -> int:
    """Bytes of a model's plain state dict."""
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


def trained_bytes(attachment: Attachment) -> int:
    """Bytes of a tuning: of what the method trains, and of the classifier."""
    return (attachment.trainable + attachment.head_size) * _FLOAT


def refuse_full_run(folder: Path, attachment: Attachment, data: ImageData) -> None:
    """Raise Unwritable where there is no room for a run's tuning, logits and checkpoint."""
    tuning, logits = trained_bytes(attachment), sum(_logits(data).values())
    refuse_full(folder, (1 + _CHECKPOINT) * tuning + logits + _SMALL)


def refuse_full_study(
    folder: Path, model: nn.Module, data: ImageData, trained: Mapping[str, int], trials: int,
    seeds: int,
) -> None:  # fmt: skip
    """Raise Unwritable where the disk has no room for what a study will leave beyond what its
    folder holds already.

    That is, of each method, the tunings and logits (images x classes x 4 bytes) of its final runs
    and the validation logits of its trials; a checkpoint of the largest; the merged model. trained:
    of each method the bytes of its tuning; trials, seeds: of each method.
    """
    logits = _logits(data)
    of_trials = trials * logits["val"] * (logits["val"] <= KEPT)
    finals = [seeds * (tuning + sum(logits.values())) for tuning in trained.values()]
    needed = sum(finals) + of_trials * len(trained) + size_of(model) + _SMALL
    needed += _CHECKPOINT * max(trained.values(), default=0)
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    refuse_full(folder, max(_SMALL, needed - held))


def _logits(data: ImageData) -> dict[str, int]:
    """Bytes of one run's logits of validation and of test."""
    outputs = data.task.logits(len(data.outputs))
    return {name: len(data.splits[name]) * outputs * _FLOAT for name in ("val", "test")}
