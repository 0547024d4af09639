"""The rule by which a tuning answers, where one was asked for: thresholds, or costs.

Thresholds of a wanted precision are chosen on validation logits: those that `fit` keeps beside its
tuning, or in a study those of the trial that chose the final run's configuration. Neither model saw
these images.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foldtune.analysis.judgement.thresholds import for_precision
from foldtune.analysis.leaderboard import chosen_runs
from foldtune.core.tuningfile import TUNING
from foldtune.errors import InputError
from foldtune.options.groups import AnswerOptions
from foldtune.study.results.artefacts import RUNS, VALIDATION, is_kept, of_run
from foldtune.study.results.description import NAME
from foldtune.study.results.logits import Logits, read_logits
from foldtune.study.results.rowgate import readable
from foldtune.study.results.store import Store
from foldtune.tasks.kinds import MultiLabel, Ordinal, SingleLabel
from foldtune.tasks.metrics import Judged
from foldtune.tasks.rules import CostedClass, CostedGrade, Thresholded
from foldtune.tasks.task import Task
from foldtune.tunings.answers import task_of
from foldtune.tunings.temperature import best_temperature

_LARGEST = 64 << 20  # bytes of a table of costs: some thousand classes


def asked_rule(asked: AnswerOptions) -> tuple[str, ...]:
    """The options that were given, as a command line spells them."""
    given = {
        "--threshold": asked.threshold, "--at-precision": asked.at_precision, "--cost": asked.cost
    }  # fmt: skip
    return tuple(name for name, value in given.items() if value is not None)


def with_rule(path: Path, header: Mapping[str, Any], asked: AnswerOptions) -> Task:
    """The task of a tuning, answering by the rule that was asked for; as it is without one.

    path: what holds the tuned model. Raises InputError for a rule that has no meaning for the task,
    for several rules, and for thresholds that nothing can be chosen on.
    """
    task, given, names = task_of(header), asked_rule(asked), header["classes"]
    if not given:
        return task
    if len(given) > 1 or (asked.tta and asked.at_precision is not None):
        both = given if len(given) > 1 else (*given, "--tta")
        raise InputError(f"{' and '.join(both)} do not go together; give one of them")
    if asked.cost is not None:
        if not isinstance(task, SingleLabel | Ordinal):
            raise _no_meaning("--cost", "one of several classes or grades an image", task)
        costs = read_costs(asked.cost, names)
        if isinstance(task, Ordinal):
            return CostedGrade(costs=costs, levels=task.levels)
        return CostedClass(costs=costs)
    if not isinstance(task, MultiLabel):
        raise _no_meaning(given[0], "several labels an image", task)
    for option, share in zip(("--threshold", "--at-precision"),
                             (asked.threshold, asked.at_precision), strict=True):  # fmt: skip
        if share is not None and not 0 < share <= 1:
            raise InputError(f"{option} {share} is no share; above 0 and up to 1, such as 0.9")
    if asked.threshold is not None:
        return Thresholded(task.separator, (asked.threshold,) * len(names))
    assert asked.at_precision is not None
    found = validation_of(path, header)
    judged = Judged(task, found.logits, found.labels)
    each = [
        for_precision(judged.marks[:, k], judged.shares[:, k], asked.at_precision)
        for k in range(len(names))
    ]
    return Thresholded(task.separator, tuple(np.inf if at is None else at for at in each))


def never_answered(task: Task, names: Sequence[str], wanted: float | None) -> str | None:
    """A line about the labels whose thresholds nothing reaches; None where there are none."""
    if not isinstance(task, Thresholded) or wanted is None:
        return None
    lost = [name for name, at in task.rule(names).items() if at is None]
    if not lost:
        return None
    return (
        f"{len(lost)} of {len(names)} labels reach a precision of {wanted:.0%} at no threshold on "
        f"validation and are never answered: {', '.join(lost[:5])}{', ...' if lost[5:] else ''}"
    )


def validation_of(path: Path, header: Mapping[str, Any]) -> Logits:
    """The validation logits that belong to a tuning, see above.

    path: of the tuning or its folder. Raises InputError where none are kept, saying what to do.
    """
    folder = (path if path.is_dir() else path.parent).resolve()
    study = folder.parents[1] if folder.parent.name == RUNS else folder
    run = (header.get("training") or {}).get("run")
    found = None
    if (folder / VALIDATION).is_file() and (folder == path.resolve() or path.name == TUNING):
        found = read_logits(folder / VALIDATION)
    elif run is not None and (study / NAME).is_file():
        found = _of_trial(study, run)
    if found is None:
        raise InputError(
            f"{path} has no validation logits beside it, on which thresholds are chosen: give the "
            "tuning where fit (without --train-on train val) or compare wrote it, OUT or "
            "STUDY/best.safetensors; or say --threshold"
        )
    if found.logits.shape[1:] != (header["num_classes"],):
        raise InputError(f"{folder / VALIDATION} is of another tuning than the one beside it")
    return found


def temperature_from(path: Path, header: Mapping[str, Any]) -> float | None:
    """By which logits are divided so that confidences are right, by the validation logits that
    belong to a tuning: of a study's final run, which trained on validation, too, the chosen
    trial's. None where none are kept, and of other tasks than one class an image."""
    if not isinstance(task_of(header), SingleLabel):
        return None
    try:
        kept = validation_of(path, header)
    except InputError:
        return None
    return best_temperature(torch.from_numpy(kept.logits), torch.from_numpy(kept.labels))


def _of_trial(study: Path, run: str) -> Logits | None:
    """The validation logits of the trial that chose a final run's configuration."""
    store = Store(study)
    rows = readable(store.rows(), study)
    label = next((row["label"] for row in rows if row["run"] == run), None)
    if label is None:
        return None
    same = [row for row in rows if row["label"] == label]
    trial, finals = chosen_runs(same, store.description().get("ties") or "small")
    ours = any(row["run"] == run for row in finals)
    if not ours or trial["stage"] != "trial" or not is_kept(study, trial, VALIDATION):
        return None
    return read_logits(of_run(study, trial, VALIDATION).open_checked(study))


def read_costs(path: Path, names: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """What answers cost: a CSV whose first line names the classes that are answered, after an empty
    cell, and whose further lines each name a true class and what each answer then costs.

    In whatever order; the costs come back in that of `names`. Raises InputError for a missing or
    double class and for what is no number.
    """
    if not path.is_file():
        raise InputError(f"no table of costs at {path}; a CSV with rows true, columns predicted")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path} is larger than any table of costs of {len(names)} classes")
    text = path.read_text("utf-8-sig", errors="replace")
    lines = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    if not lines:
        raise InputError(f"{path} is empty; a CSV with rows true, columns predicted")
    columns = _places([cell.strip() for cell in lines[0][1:]], names, f"{path}, first line")
    rows = _places([row[0].strip() for row in lines[1:]], names, f"{path}, first column")
    found = np.zeros((len(names), len(names)))
    for place, row in zip(rows, lines[1:], strict=True):
        if len(row) != len(names) + 1:
            raise InputError(
                f"{path}: {row[0]} has {len(row) - 1} costs, and there are {len(names)} classes"
            )
        for column, cell in zip(columns, row[1:], strict=True):
            found[place, column] = _cost(cell, path, names[place])
    return tuple(map(tuple, found.tolist()))


def _cost(cell: str, path: Path, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{path}: {name} has {cell!r} where a cost is a number")
    return value


def _places(found: Sequence[str], names: Sequence[str], where: str) -> list[int]:
    place = {name: k for k, name in enumerate(names)}
    lacking = [name for name in names if name not in found]
    if lacking or len(found) != len(names):
        more = [name for name in found if name not in place]
        said = f"lacks {lacking[0]!r}" if lacking else f"names {(more or found)[0]!r} in excess"
        raise InputError(
            f"{where}, {said}; it names each of the {len(names)} classes of the tuning once"
        )
    return [place[name] for name in found]


def _no_meaning(option: str, wanted: str, task: Task) -> InputError:
    return InputError(f"{option} has a meaning for {wanted}, and the tuning is of {task!r}")
