"""The verb that names what is on image files: predict, of a tuning or a saved ensemble."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from foldtune.backbones.tuning import refuse_hub
from foldtune.errors import InputError
from foldtune.judging.mirror import apply_tta
from foldtune.options.groups import AnswerOptions, FileOptions, LikelyOptions
from foldtune.options.taken import of, takes
from foldtune.shown import Table
from foldtune.study.bench.execute import Say
from foldtune.study.inputs import silent
from foldtune.study.tuned.rules import asked_rule, never_answered, with_rule
from foldtune.tunings.answers import refuse_unless_classes
from foldtune.tunings.ensemble import is_ensemble, open_ensemble, predict_with_ensemble
from foldtune.tunings.files import expand
from foldtune.tunings.hub import local
from foldtune.tunings.predict import answer_of, predict_images
from foldtune.tunings.usable import Plain, temperature_of, usable

Allow = Callable[[str], bool]


@takes(LikelyOptions, AnswerOptions, FileOptions)
def predict(
    tuning: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    say: Say | None = None,
    allow: Allow | None = None,
    **options: Any,
) -> Table:
    """Of each image file, or of each picture in a folder, its path as `image` and the answer of a
    tuning or a saved ensemble: `class` and `probability`, or the labels or number of another task.
    A file that is missing or no image has `error` in their place. Samples of more than 8 bits are
    read by the range that the tuning was trained with. say: is told of labels that a rule never
    answers with.
    """
    given = [images] if isinstance(images, str | Path) else images
    paths = expand([Path(one) for one in given])
    return Table(answers(tuning, paths, say=say, allow=allow, **options)[0])


def answers(
    tuning: str | Path, paths: Sequence[Path], *, say: Say | None = None,
    allow: Allow | None = None, into_classes: bool = False, **options: Any,
) -> tuple[Iterator[dict[str, Any]], list[str]]:  # fmt: skip
    """The rows of `predict`, as they are asked for, and the classes. into_classes: refuse, before
    anything is predicted, a tuning that does not answer with one class an image."""
    path, file, likely = local(Path(tuning)), of(FileOptions, options), of(LikelyOptions, options)
    hub, answering = allow or permission(file), of(AnswerOptions, options)
    if is_ensemble(path):
        if likely != LikelyOptions() or answering != AnswerOptions():
            more = ", ".join(("--top", "--calibrated", "--tta", *asked_rule(answering)))
            raise InputError(f"{path} is an ensemble; {more} are of one tuning")
        classes = open_ensemble(path).header["classes"]
        return predict_with_ensemble(path, paths, file.weights, hub), classes
    temperature = temperature_of(path) if likely.calibrated else None
    if likely.calibrated and temperature is None:
        raise InputError(
            f"{path} keeps no temperature from validation images; foldtune export writes a "
            "folder that does, of a study, or of a tuning that was not trained on all of them"
        )
    tuned, backbone, header = usable(path, file.weights, hub)
    if into_classes:
        refuse_unless_classes(header, "a folder for each class")
    task = with_rule(path, header, answering)
    if lost := never_answered(task, header["classes"], answering.at_precision):
        (say or silent)(lost)
    answer = answer_of(header, likely.top, temperature, task)
    model = Plain(apply_tta(tuned.model, answering.tta))
    return predict_images(model, backbone, paths, answer, header.get("data")), header["classes"]


def permission(file: FileOptions) -> Allow:
    """Whether the hub may be asked for a name, as the options say."""
    return (lambda _name: True) if file.allow_hub else refuse_hub
