"""A certificate of one format: what its own runtime answers to real images, beside the tuning."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune.tasks.kinds import USUAL
from foldtune.tasks.parsing import parse_task
from foldtune.tasks.task import Task
from foldtune.tunings.answers import unlike
from foldtune.tunings.outputs import Shares, answers, figure, figure_name, told_figure

_ROUNDS = 9


@dataclass(frozen=True)
class FormatCertificate:
    """form: what it is, file: where; runtime: what computed it, with its version. largest: absolute
    difference of any logit (of any probability, where the graph gives these), scale: the largest of
    them; changed: images of another answer than before. accuracy_before, accuracy: of the tuning
    and of this format, with the 95 % interval of the latter; None where the images' classes are not
    the tuning's; of another task than one class an image its `figure`, which `metric` names.
    milliseconds: of one image, in turn with the tuning in torch (milliseconds_before).
    """

    form: str
    file: str
    runtime: str
    images: int
    trained_on: int
    largest: float
    scale: float
    changed: int
    accuracy_before: float | None
    accuracy: float | None
    low: float | None
    high: float | None
    bytes: int
    milliseconds: float
    milliseconds_before: float
    metric: str = "accuracy"
    task: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        right = ""
        if self.accuracy is not None and self.accuracy_before is not None:
            word = "right" if self.metric == "accuracy" else self.metric
            ends = self.accuracy_before, self.accuracy, self.low or 0.0, self.high or 0.0
            first, last, low, high = (told_figure(end, task_told(self.task)) for end in ends)
            right = f"; {word} {first} before, {last} after ({low} to {high})"
        seen = f" ({self.trained_on} of them trained on)" if self.trained_on else ""
        return (
            f"largest difference {self.largest:.2e} (of up to {self.scale:.3g}) over {self.images} "
            f"images{seen}; {self.changed} predictions changed{right}; {self.bytes:,} bytes; "
            f"{self.milliseconds:.2f} ms an image, the tuning {self.milliseconds_before:.2f} ms"
        )


@dataclass(frozen=True, eq=False)
class Witnesses:
    """Real images to certify on. pixels: (images, height, width, channels) uint8; targets: of the
    task, under the tuning's classes, None where they are others; before: the tuning's outputs."""

    pixels: np.ndarray
    targets: np.ndarray | None
    before: Tensor
    trained_on: int
    task: Task = USUAL


def task_told(text: str | None) -> Task:
    """The task that a certificate names."""
    return parse_task(text) if text else USUAL


def certify(
    form: str,
    file: Path,
    runtime: str,
    seen: Witnesses,
    answer: Callable[[np.ndarray], Tensor],
    before: Callable[[np.ndarray], Tensor],
    *,
    shares: bool = False,
) -> FormatCertificate:
    """Run `answer`, from pixels to outputs (to shares of names with `shares`), over the witnesses.

    before: the tuning in torch, from the same pixels; both are timed on one image, in turn.
    """
    task, after = seen.task, in_batches(answer, seen.pixels)
    wanted = Shares(task)(seen.before) if shares else seen.before
    one, other = answers(wanted, task, shares), answers(after, task, shares)
    right = low = high = first = None
    if seen.targets is not None:
        grades = seen.before.shape[1] + 1
        first = figure(one, seen.targets, task).value
        right, low, high = figure(other, seen.targets, task, grades)
    own, theirs = in_turn(lambda: answer(seen.pixels[:1]), lambda: before(seen.pixels[:1]))
    return FormatCertificate(
        form, file.name, runtime, len(seen.pixels), seen.trained_on,
        float((wanted - after).abs().max()), float(wanted.abs().max()), unlike(one, other, task),
        first, right, low, high, _size(file), own, theirs,
        figure_name(task), None if task.usual else repr(task),
    )  # fmt: skip


def in_batches(
    answer: Callable[[np.ndarray], Tensor], pixels: np.ndarray, size: int = 64
) -> Tensor:
    """The answers to all images, some at a time."""
    parts = [pixels[at : at + size] for at in range(0, len(pixels), size)]
    return torch.cat([answer(part).float() for part in parts])


def in_turn(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """The median milliseconds of each, called one after the other, again and again."""
    taken: tuple[list[float], list[float]] = ([], [])
    one(), other()  # what is done once only
    for _ in range(_ROUNDS):
        for call, times in zip((one, other), taken, strict=True):
            begun = time.perf_counter()
            call()
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _size(file: Path) -> int:
    """Bytes of the file, and of what lies beside it under its name (large ONNX models do)."""
    return sum(p.stat().st_size for p in file.parent.glob(f"{file.name}*"))
