"""Several studies, one a task, as one table of methods and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foldtune.analysis.leaderboard import leaderboard
from foldtune.analysis.tasks.ranks import Scores
from foldtune.errors import InputError
from foldtune.study.results.rowgate import readable
from foldtune.study.results.store import Store


def read_scores(
    folders: Sequence[Path], groups: Sequence[str] = ()
) -> tuple[Scores, dict[str, list[str]]]:
    """Test accuracies in percent of the methods that every study has, and by study the labels that
    were left out because another study lacks them.

    groups: a name a study, by default one for all. Raises InputError with fewer than two studies
    or common methods.
    """
    if len(folders) < 2:
        raise InputError(
            "a ranking over tasks needs two or more studies; for one: foldtune analyse"
        )
    if len({Path(f).resolve() for f in folders}) < len(folders):
        raise InputError("a study is named twice; each task counts once")
    if groups and len(groups) != len(folders):
        raise InputError(f"{len(folders)} studies need as many groups, not {len(groups)}")
    boards = [accuracies_by_label(Path(folder)) for folder in folders]
    common = [label for label in boards[0] if all(label in board for board in boards)]
    if len(common) < 2:
        raise InputError(
            f"the studies have {len(common)} methods with a test figure in common; a ranking needs "
            f"two. They have: {'; '.join(', '.join(board) or 'none' for board in boards)}"
        )
    values = np.array([[100 * board[label] for board in boards] for label in common])
    names = [str(folder) for folder in folders]
    left = {n: [x for x in b if x not in common] for n, b in zip(names, boards, strict=True)}
    scores = Scores(tuple(common), tuple(names), tuple(groups) or ("all",) * len(names), values)
    return scores, {name: labels for name, labels in left.items() if labels}


def accuracies_by_label(folder: Path) -> dict[str, float]:
    """By label the test accuracy of a study's methods, best first."""
    store = Store(folder)
    store.read_seal()  # raises where rows were lost
    rows = readable(store.rows(), folder)
    if not rows:
        raise InputError(f"{folder} has no finished run (no rows.jsonl, or an empty one)")
    board = leaderboard(rows)
    return {e["label"]: e["test_accuracy"] for e in board if e["test_accuracy"] is not None}
