"""The verbs on a tuning that was saved: evaluate, also of an ensemble, and merge.

A tuning is its file, a run's folder, an exported folder, a merged file, or `hf-hub:OWNER/NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from foldtune.augment.corruptions import parse_corruptions
from foldtune.backbones import Backbone
from foldtune.backbones.tuning import backbone_of
from foldtune.core.attachment import Attachment
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.files import names_folder
from foldtune.judging.shift import Target
from foldtune.options.groups import (
    AnswerOptions,
    DataOptions,
    FileOptions,
    JudgeOptions,
    PointOptions,
    ShiftOptions,
)
from foldtune.options.taken import of, takes
from foldtune.shown import Facts
from foldtune.study.bench.execute import Say
from foldtune.study.inputs import silent
from foldtune.study.tuned.predict import Allow, permission
from foldtune.study.tuned.rules import asked_rule, never_answered, temperature_from, with_rule
from foldtune.tunings.answers import refuse_unless_classes
from foldtune.tunings.ensemble import evaluate_ensemble, is_ensemble, known_of, open_ensemble
from foldtune.tunings.export.folder import Exported, export_tuning
from foldtune.tunings.hub import local
from foldtune.tunings.judging import Known, choose, honest_names, trained_line
from foldtune.tunings.reading import as_described, mapping_of, read_images
from foldtune.tunings.shifts import load_targets
from foldtune.tunings.tuning import (
    Certificate,
    evaluate_away,
    evaluate_tuning,
    home_target,
    merge_tuning,
    open_tuning,
)
from foldtune.tunings.usable import usable
from foldtune.tunings.weightspace.wise import point_of

_OF_HOME = ("home", "drop", "predicted", "effective")


@dataclass(frozen=True)
class Merged:
    """A plain state dict that was written. data: what the certificate's images are of."""

    path: Path
    certificate: Certificate
    data: str


@takes(JudgeOptions, ShiftOptions, AnswerOptions, FileOptions, DataOptions)
def evaluate(
    tuning: str | Path,
    data: str | Path,
    *,
    baseline: Path | None = None,
    say: Say | None = None,
    allow: Allow | None = None,
    **options: Any,
) -> Facts:
    """How often a tuning, or a saved ensemble, is right on data, how well its confidences fit, and
    by class what it confuses (`judgement`); of a tuning under shifts, too: `shifts`, a row each,
    and `corruptions`, means over severities. Of another task than one class an image its metrics.

    Of the data it was made with the test images are judged, of other data all; what it was trained
    on is left out, counted and told in `notes`. Classes are found by name, or by `map`; one without
    an image is fine. threshold, at_precision, cost: answers by that rule are judged. baseline: a
    CSV with columns home and one a shift, a baseline model in each row, for effective robustness.
    say: is told what is wrong with the data. allow: whether the hub may be asked for a name, in
    place of `allow_hub`.
    """
    path, say = local(Path(tuning)), say or silent
    hub = allow or permission(of(FileOptions, options))
    shifts, judging = of(ShiftOptions, options), of(JudgeOptions, options)
    weights, reading = of(FileOptions, options).weights, of(DataOptions, options)
    mapping, answering = mapping_of(shifts), of(AnswerOptions, options)
    tta = answering.tta
    away = bool(shifts.shift or shifts.corrupt or baseline)
    if is_ensemble(path):
        if away or tta or asked_rule(answering):
            more = ", ".join(("shifts", "tta", *asked_rule(answering)))
            raise InputError(f"{path} is an ensemble; {more} are judged of one tuning")
        ensemble = open_ensemble(path)
        backbone, known = backbone_of(ensemble.header, weights, hub), known_of(ensemble)
        images = _read(data, backbone, known, reading, say)
        chosen = choose(known, images, judging.split, included=judging.include_trained)
        told = evaluate_ensemble(ensemble, backbone, images, chosen, mapping)
        return Facts(told | {"notes": list(chosen.notes)})
    attachment, backbone, header = usable(path, weights, hub)
    known, classes = Known.of([path], [header]), header["classes"]
    if away:
        refuse_unless_classes(header, "a shift")
        if asked_rule(answering):
            raise InputError("shifts are judged by the likeliest class; leave --cost or them out")
    task = with_rule(path, header, answering)
    images = _read(data, backbone, known, reading, say)
    chosen = choose(known, images, judging.split, included=judging.include_trained)
    told = evaluate_tuning(attachment, backbone, images, classes, chosen, mapping, task, tta)
    lost = never_answered(task, classes, answering.at_precision)
    told["notes"] = [*chosen.notes, *([lost] if lost else ())]
    if not task.usual:
        return Facts(told)
    found = evaluate_away(
        attachment, backbone, home_target(images, classes, chosen, mapping), baseline,
        lambda home: targets(shifts, home, backbone, known, reading, say),
    )  # fmt: skip
    found["shifts"] = [honest_names(row, chosen, _OF_HOME) for row in found["shifts"]]
    return Facts(told | found)


def targets(
    shifts: ShiftOptions, home: Target, backbone: Backbone, known: Known, reading: DataOptions,
    say: Say = silent,
) -> list[Target]:  # fmt: skip
    """Where else to judge: other images, then corruptions of the images at home."""
    others = load_targets(
        shifts.shift, lambda spec: read_images(spec, backbone, reading, None, say),
        known.header["classes"], mapping_of(shifts), known,
    )  # fmt: skip
    for one in others:
        if one.trained_on:
            asked = one.trained_on + len(one.rows)
            say(f"{one.name}: {trained_line(one.trained_on, asked)}")
    return others + [home.corrupt(*which) for which in parse_corruptions(shifts.corrupt)]


@takes(PointOptions, FileOptions, DataOptions)
def merge(
    tuning: str | Path | Attachment,
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    say: Say | None = None,
    allow: Allow | None = None,
    **options: Any,
) -> nn.Module | Merged | Exported:
    """Fold a tuning's file into its backbone and write a plain state dict, which the host library
    loads, to `out`; where that is a folder or has no suffix, a folder as `export` does. Of an
    attachment: fold it into its model, in place, and return that.

    The certificate compares logits over real images: of `data`, or of the data it was trained on.
    Raises InputError where the method does not merge, with nothing written.
    """
    if isinstance(tuning, Attachment):
        if out is not None:
            raise InputError("an attachment is merged in place; save it, and merge its file")
        return tuning.merge()
    if out is None:
        raise InputError(f"merge({str(tuning)!r}) needs out=, the file to write")
    path, place, file = Path(tuning), Path(out), of(FileOptions, options)
    point, hub = of(PointOptions, options), allow or permission(file)
    attachment, backbone, header = open_tuning(path, file.weights, hub)
    attachment.detach()
    trained_on = header.get("data", {})
    source = str(data or trained_on.get("source") or "shapes/count")
    if data is None and source.startswith("hf:") and not hub(source):
        raise InputError(
            f"{tuning} was trained on {source}, which is on the hub; give images with --data, or "
            "have them fetched with --allow-hub"
        )
    reading = _as_made(of(DataOptions, options), header, source)
    images = read_images(source, backbone, reading, None, say or silent)
    if names_folder(place) and attachment.mergeable:
        if point.alpha != 1.0:
            raise InputError("a folder holds the tuned model; --alpha is of a .safetensors file")
        temperature = temperature_from(path, header)
        return export_tuning(path, place, backbone, images, temperature=temperature)
    at = point_of(point.part, point.alpha)
    certificate = merge_tuning(path, place, backbone, images, at)
    return Merged(place, certificate, images.name)


def _read(
    data: str | Path, backbone: Backbone, known: Known, reading: DataOptions, say: Say
) -> ImageData:
    reading = _as_made(reading, known.header, str(data))
    return read_images(str(data), backbone, reading, None, say)


def _as_made(reading: DataOptions, header: Mapping[str, Any], source: str) -> DataOptions:
    """The options as the tuning says that its data was read, and what its labels are."""
    found = as_described(reading, header.get("data", {}), source)
    return replace(found, task=found.task or header.get("task"))
