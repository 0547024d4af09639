"""Which task the labels of a source are of, where they leave no doubt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Regression, SingleLabel
from foldtune.tasks.task import SEPARATORS, Task

_REAL = re.compile(r"[+-]?\d*\.\d*[1-9]\d*([eE][+-]?\d+)?")  # a number that is not whole
_FEW = 8  # images up to which labels may all differ
_GRADES = 10  # different numbers with a fraction that may be classes still


def recognise(labels: Sequence[str]) -> tuple[Task | None, str]:
    """The task that a table's labels are certainly of, and what is asked where they may be of two.

    Most are numbers with a fraction: numbers to predict. Several labels in one text: where parts of
    different texts are the same label. Neither None nor a question: one label an image, as ever.
    """
    distinct = set(labels)
    real = {label for label in distinct if _REAL.fullmatch(label)}
    share = sum(label in real for label in labels) * 2 > len(labels)
    many = len(real) * 2 > len(labels) or len(real) > _GRADES
    if len(labels) >= _FEW and share and many:
        return Regression(), ""
    for separator in SEPARATORS:
        joined = [label for label in distinct if separator in label]
        if not joined:
            continue
        task = MultiLabel(separator)
        told = Counter(part for label in distinct for part in set(task.parts(label)))
        # Of labels with a comma, names such as "bus, red" are as likely: every part must recur.
        parts = [part for label in joined for part in task.parts(label)]
        again = [part for part in parts if told[part] > 1]
        if separator != "," and again and len(again) * 2 >= len(parts):
            return task, ""
        if again:
            return None, (
                f"labels such as {min(joined)!r} may be one name or several labels; say which: "
                f"--task SingleLabel, or --task \"MultiLabel(separator='{separator}')\""
            )
    return None, ""


def joined_labels(labels: Sequence[str]) -> str:
    """Several labels of one image as one text, in order. Raises InputError for one that holds the
    separator."""
    separator = SEPARATORS[0]
    odd = next((label for label in labels if separator in label), None)
    if odd is not None:
        raise InputError(f"the label {odd!r} holds {separator!r}, which parts labels; rename it")
    return separator.join(sorted(set(labels)))


def settled_task(asked: Task | None, found: Task | None, doubt: str, where: str) -> Task:
    """The task that was asked for, else that which the labels are of. Raises InputError where they
    may be of two, and for numbers with a fraction that are asked to be classes."""
    if asked is not None:
        if isinstance(found, Regression) and isinstance(asked, SingleLabel):
            raise InputError(
                f"{where} holds numbers to predict, which are no classes; put them into few ranges "
                "first, or leave --task out"
            )
        # The separator is the source's to know.
        same = isinstance(asked, MultiLabel) and isinstance(found, MultiLabel)
        return found if same and asked == MultiLabel() and found is not None else asked
    if doubt:
        raise InputError(f"{where}: {doubt}")
    return found or SingleLabel()
