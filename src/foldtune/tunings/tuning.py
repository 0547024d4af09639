"""What one does with a saved tuning: judge it, predict with it, merge it and prove the merge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from foldtune.analysis.effective import read_baselines
from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.backbones.tuning import backbone_of, load, refuse_hub
from foldtune.core.attachment import Attachment
from foldtune.core.tensorfile import write_tensors
from foldtune.core.tuningfile import Source, TuningFile
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.files import refuse_full
from foldtune.judging.mirror import apply_tta
from foldtune.judging.predict import finite, predict_logits
from foldtune.judging.shift import Target, target_of
from foldtune.tasks.kinds import Regression, SingleLabel
from foldtune.tasks.task import Task
from foldtune.tunings.answers import count_changed, judgement, task_figures, task_of
from foldtune.tunings.judging import Chosen, Known, figures
from foldtune.tunings.mergedfile import merged_as
from foldtune.tunings.outputs import fold_unit
from foldtune.tunings.shifts import corruption_means, judge_shifts

# A certificate needs real images, not all of them.
_WITNESSES = 256


class Modelled(Protocol):
    """What can be asked for predictions: an attachment, or a model that one was merged into."""

    @property
    def model(self) -> nn.Module: ...


@dataclass(frozen=True)
class Certificate:
    """How far a merged model is from the attached one, on real images.

    largest: largest absolute difference of any logit; scale: largest absolute logit; changed:
    images whose predicted class differs; images: how many were looked at; added: keys that the
    plain network lacks (SSF's retained affine on ConvNeXt, a bias asked for by `add_bias`).
    """

    images: int
    largest: float
    scale: float
    changed: int
    added: tuple[str, ...] = ()
    trained_on: int = 0

    def __str__(self) -> str:
        more = f"; keys beyond the plain network's: {', '.join(self.added)}" if self.added else ""
        seen = f" ({self.trained_on} of them trained on)" if self.trained_on else ""
        return (
            f"largest difference of logits {self.largest:.2e} (of logits up to {self.scale:.3g}) "
            f"over {self.images} images{seen}; {self.changed} predictions changed{more}"
        )


def merge_tuning(
    path: Path,
    out: Path,
    backbone: Backbone,
    data: ImageData,
    point: tuple[float, float] = (1.0, 1.0),
) -> Certificate:
    """Fold the tuning into the backbone and write the plain state dict to `out`, with the names of
    its classes and how images are brought in among its metadata.

    The certificate compares logits before and after over images of the test split (or of any, if
    there is none). point: alphas of the body and of the classifier, between the start (0) and the
    tuned model (1). The backbone's model is left as it was. Raises InputError where the method
    does not merge, with nothing written.
    """
    # Merging changes the model in place; the caller's stays as it is.
    import copy

    state = backbone.model.state_dict()
    refuse_full(out, sum(t.numel() * t.element_size() for t in state.values()))
    own = replace(backbone, model=copy.deepcopy(backbone.model))
    plain = set(own.model.state_dict())
    tuning = TuningFile(path)
    header = header_of(tuning)
    attachment, task = load(tuning, own), task_of(header)
    rows, seen = witnesses(tuning, data)
    prepare = prepare_for(own)
    with attachment.interpolated(*point):
        before = finite(predict_logits(own.model, data.pixels, rows, prepare), path)
        merged = attachment.merge()
    if isinstance(task, Regression):
        before = before * task.std + task.mean
    task = fold_unit(merged, attachment.head, task)
    after = finite(predict_logits(merged, data.pixels, rows, prepare), f"{path}, merged,")
    state = merged.state_dict()
    heads = tuple(f"{p}." for p in attachment.head)
    added = tuple(k for k in state if k not in plain and not k.startswith(heads))
    about = {"format": "pt", **merged_as(own, header, task)}
    write_tensors({k: v.contiguous() for k, v in state.items()}, out, about)
    return Certificate(
        len(rows),
        float((before - after).abs().max()),
        float(before.abs().max()),
        count_changed(before, after, task),
        added,
        seen,
    )


def witnesses(tuning: Source, data: ImageData, most: int = _WITNESSES) -> tuple[np.ndarray, int]:
    """Rows for a certificate, spread over the test split or else over all, and how many of them
    training saw: none where there are others."""
    tuning = TuningFile.of(tuning)
    known = Known.of([tuning], [header_of(tuning)])
    rows = data.splits["test"] if len(data.splits.get("test", ())) else data.split(*data.splits)
    seen = known.is_seen(data, rows)
    if not seen.all():
        rows, seen = rows[~seen], seen[~seen]
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)
    return rows[places], int(seen[places].sum())


def evaluate_tuning(
    attachment: Modelled,
    backbone: Backbone,
    data: ImageData,
    classes: Sequence[str],
    chosen: Chosen,
    mapping: Mapping[str, str] | None = None,
    task: Task | None = None,
    tta: str | None = None,
) -> dict[str, Any]:
    """Accuracy and calibration on the chosen rows. Classes are found by name, those without an
    image counted; see `target_of` for the mapping and what is refused. Of another task its
    metrics. `judgement` holds what is known by class; answers follow the task's rule. tta: "flip"
    for the mean over each image and its mirror image."""
    model = apply_tta(attachment.model, tta)
    if task is not None and not isinstance(task, SingleLabel):
        prepare = prepare_for(backbone)
        logits = predict_logits(model, data.pixels, chosen.rows, prepare)
        return task_figures(finite(logits, "the tuning"), data, chosen, classes, task)
    target = home_target(data, classes, chosen, mapping)
    logits = predict_logits(model, data.pixels, target.rows, prepare_for(backbone))
    told = judge(finite(logits, "the tuning"), target, chosen, classes)
    return told | judgement(logits, target.labels, classes, task or SingleLabel(), chosen)


def home_target(
    data: ImageData,
    classes: Sequence[str],
    chosen: Chosen,
    mapping: Mapping[str, str] | None = None,
) -> Target:
    """The chosen rows under the tuning's classes, none of which is ruled out: that an image of it
    is not there by chance is nothing the model may know."""
    target = target_of(data.name, data, chosen.rows, classes, mapping)
    return replace(target, name="home", present=None)


def judge(logits: Tensor, target: Target, chosen: Chosen, classes: Sequence[str]) -> dict[str, Any]:
    """The figures of logits (rows of the target, classes), and the classes without an image."""
    told = figures(logits, target.labels, chosen)
    absent = [c for label, c in enumerate(classes) if label not in set(target.labels.tolist())]
    return told | ({"absent_classes": len(absent), "absent": absent[:5]} if absent else {})


def evaluate_away(
    attachment: Modelled,
    backbone: Backbone,
    home: Target,
    baseline: Path | None,
    targets: Callable[[Target], Sequence[Target]],
) -> dict[str, Any]:
    """`shifts`, a row each (see `judge_shifts`), and `corruptions`, the means over severities.

    targets: from the images at home, which corruptions change, to where else to judge.
    """
    away = targets(home)
    baselines = read_baselines(baseline) if baseline else None
    found = judge_shifts(attachment.model, home, away, prepare_for(backbone), baselines)
    corrupted = [r for r, t in zip(found, away, strict=True) if t.corruption]
    return {"shifts": found, "corruptions": corruption_means(corrupted)}


def open_tuning(
    path: Path, weights: Path | None = None, allowed: Callable[[str], bool] = refuse_hub
) -> tuple[Attachment, Backbone, dict[str, Any]]:
    """A tuning on its backbone, the backbone, and the header. weights: the file that the backbone
    was loaded from, where it is not a published one; allowed: see `backbone_of`."""
    tuning = TuningFile(path)
    header = header_of(tuning)
    backbone = backbone_of(header, weights, allowed)
    return load(tuning, backbone), backbone, header


def header_of(tuning: Source) -> dict[str, Any]:
    """The header of a tuning, with names for its classes. Raises InputError where these are more or
    fewer than the classifier has."""
    file = TuningFile.of(tuning)
    header = dict(file.header)
    classes = header.setdefault("classes", [str(i) for i in range(header["num_classes"])])
    if task_of(header).logits(len(classes)) != header["num_classes"]:
        raise InputError(
            f"{file.path} names {len(classes)} classes, and its classifier has "
            f"{header['num_classes']}; it is damaged, or was saved with other names"
        )
    return header
