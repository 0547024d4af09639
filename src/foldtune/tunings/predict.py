"""What a tuned model answers of any number of image files, broken ones told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.data.sources.readers import regular_bytes
from foldtune.data.store.ahead import Pixels, decoded_ahead
from foldtune.data.store.decode import Fit
from foldtune.errors import InputError
from foldtune.judging.predict import finite, predict_logits
from foldtune.tasks.task import Task
from foldtune.tunings.answers import answer_rows, refuse_unless_classes, task_of
from foldtune.tunings.imagefiles import fit_of
from foldtune.tunings.tuning import Modelled

Answer = Callable[[Sequence[Path], Tensor], Iterator[dict[str, Any]]]


def predict_images(
    tuned: Modelled,
    backbone: Backbone,
    paths: Sequence[Path],
    answer: Answer,
    read_as: Mapping[str, Any] | None = None,
    workers: int | None = None,
) -> Iterator[dict[str, Any]]:
    """For each image file what `answer` makes of its logits, in order; of a file that is missing,
    damaged or no image its name, as "image", and why, as "error".

    answer: from files and their logits (files, classes) to as many results, see `most_likely`.
    read_as: what the tuning says of its data, by whose range more than 8 bits are read. Files are
    decoded ahead in `workers` processes, by default one a core; a few batches are in memory.
    """
    prepare = prepare_for(backbone)

    def logits(pixels: np.ndarray, rows: np.ndarray) -> Tensor:
        return finite(predict_logits(tuned.model, pixels, rows, prepare), "the tuning")

    yield from predict_files(paths, fit_of(backbone, read_as), logits, answer, workers)


def predict_files(
    paths: Sequence[Path],
    fit: Fit,
    outputs: Callable[[np.ndarray, np.ndarray], Tensor],
    answer: Answer,
    workers: int | None = None,
    together: int = 1,
) -> Iterator[dict[str, Any]]:
    """As `predict_images`, of anything that makes outputs (rows, classes) of pixels and rows of
    them. together: images that `outputs` is given at least, for what takes long to begin."""
    decoded = decoded_ahead([str(path) for path in paths], read_path, fit, workers)
    for found in _gather(decoded, together):
        whole = np.array([i for i in range(len(found.pixels)) if i not in found.broken], np.int64)
        answers: Iterator[dict[str, Any]] = iter(())
        if len(whole):
            named = [paths[found.first + int(place)] for place in whole]
            answers = answer(named, outputs(found.pixels, whole))
        for place in range(len(found.pixels)):
            if place in found.broken:
                path = paths[found.first + place]
                yield {"image": str(path), "error": found.broken[place]}
            else:
                yield next(answers)


def _gather(chunks: Iterable[Pixels], count: int) -> Iterator[Pixels]:
    """The same images, at least so many at a time but for the last."""
    waiting: list[Pixels] = []
    for chunk in chunks:
        waiting.append(chunk)
        if sum(len(one.pixels) for one in waiting) >= count:
            yield _join(waiting)
            waiting = []
    if waiting:
        yield _join(waiting)


def _join(chunks: Sequence[Pixels]) -> Pixels:
    if len(chunks) == 1:
        return chunks[0]
    first = chunks[0].first
    broken = {c.first - first + place: why for c in chunks for place, why in c.broken.items()}
    return Pixels(first, np.concatenate([c.pixels for c in chunks]), broken)


def answer_of(
    header: Mapping[str, Any],
    count: int = 1,
    temperature: float | None = None,
    task: Task | None = None,
) -> Answer:
    """What a tuning answers, by its task: one class, several labels, a number. count, temperature:
    see `most_likely`; they have a meaning for one class an image alone. task: with another rule
    than the usual (`tasks.rules`).

    Raises InputError for several classes by a rule that gives one.
    """
    classes, task = header["classes"], task or task_of(header)
    if task.usual:
        return most_likely(classes, count, temperature)
    if count > 1 or temperature is not None:
        refuse_unless_classes(header, "several likely classes, or a temperature,")
    if count > 1:
        raise InputError("--top tells likely classes, --cost the one of least cost; give one")
    heat = temperature or 1.0
    return lambda paths, logits: answer_rows(paths, logits / heat, classes, task)


def most_likely(classes: Sequence[str], count: int = 1, temperature: float | None = None) -> Answer:
    """The `count` most likely classes of each file, the first as "class" and "probability", all as
    "top" where they are several. temperature: by which logits are divided.

    Raises InputError for more classes than there are.
    """
    if not 1 <= count <= len(classes):
        raise InputError(f"of {len(classes)} classes the first {count} cannot be told")

    def answer(paths: Sequence[Path], logits: Tensor) -> Iterator[dict[str, Any]]:
        best = (logits / (temperature or 1.0)).softmax(1).topk(count)
        for path, shares, which in zip(paths, best.values, best.indices, strict=True):
            pairs = zip(which.tolist(), shares.tolist(), strict=True)
            top = [{"class": classes[label], "probability": share} for label, share in pairs]
            yield {"image": str(path), **top[0], **({"top": top} if count > 1 else {})}

    return answer


def read_path(name: str) -> bytes:
    """The bytes of a file, none of a device or pipe."""
    return regular_bytes(Path(name))
