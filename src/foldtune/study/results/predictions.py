"""A study's stored predictions, brought into the form that the analyses take."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from foldtune.analysis.decision import Decision, decide
from foldtune.analysis.leaderboard import by_validation, chosen_runs, leaderboard
from foldtune.analysis.panel import Member, Panel
from foldtune.analysis.row import Row, Standing
from foldtune.errors import InputError
from foldtune.study.results.artefacts import LOGITS, VALIDATION, Altered, is_kept, of_run
from foldtune.study.results.logits import read_logits
from foldtune.study.results.rowgate import readable
from foldtune.study.results.store import Store
from foldtune.tasks.kinds import SingleLabel
from foldtune.tasks.parsing import parse_task


@dataclass(frozen=True, eq=False)
class Predictions:
    """panel: test logits of every tested final run of each method's chosen configuration; images:
    of each test image its row in the data; rows: of the study; ties: its rule; validation: where
    the chosen trials kept their logits, those of each method, over the labels; groups: of each
    test image the cluster of near duplicates it is in, None where no two are alike or nobody has
    looked."""

    panel: Panel
    images: np.ndarray
    rows: Sequence[Row]
    ties: str
    validation: dict[str, Member]
    validation_labels: np.ndarray | None
    groups: np.ndarray | None = None

    @cached_property
    def decision(self) -> Decision | None:
        """What these runs tell apart; None where all test images are one."""
        units = len(self.panel.labels) if self.groups is None else len(np.unique(self.groups))
        if units < 2:
            return None
        shares = not self.panel.metric
        panel = self.panel
        return decide(panel.scores, self.groups, proportions=shares, least=panel.least)

    @cached_property
    def board(self) -> list[Standing]:
        """The leaderboard, judged."""
        return leaderboard(self.rows, self.ties, self.decision)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The methods as the winner is chosen, see `_order`."""
        return _order(self.board, self.panel.runs)

    @property
    def winner(self) -> str | None:
        """The method that validation chose, where its final runs were tested."""
        name = next((entry["label"] for entry in self.board if entry["winner"]), None)
        return name if name in self.panel.names else None


def read_predictions(folder: Path) -> Predictions:
    """Read a study. Raises InputError where it has no tested run, or runs on different images, and
    Altered where logits are not those that their row was stored with."""
    store = Store(folder)
    rows, about = readable(store.rows(), folder), store.description()
    store.read_seal()  # raises where rows were lost
    ties = about.get("ties") or "small"
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    found = {label: chosen_runs(group, ties) for label, group in by_label.items()}
    tested = {label: finals for label, (_, finals) in found.items() if finals}
    if not tested:
        raise InputError(
            f"{folder} has no final run with test logits; run foldtune compare ... --out {folder}"
        )
    trials = [found[label][0] for label in tested]
    validation, labels = _validation(folder, trials)
    panel, images = _panel(folder, tested)
    groups = groups_of(images, about.get("alike") or ())
    return Predictions(panel, images, rows, ties, validation, labels, groups)


def judged_board(folder: Path) -> tuple[list[Standing], Decision | None]:
    """The leaderboard of a study and the decision behind it; without test logits what rows tell.

    Raises Altered where logits are there and are not those of their row.
    """
    try:
        found = read_predictions(folder)
    except Altered:
        raise
    except InputError:
        store = Store(folder)
        store.read_seal()
        return leaderboard(
            readable(store.rows(), folder), store.description().get("ties") or "small"
        ), None
    return found.board, found.decision


def groups_of(images: np.ndarray, alike: Sequence[Sequence[int]]) -> np.ndarray | None:
    """A number for each image (a row of the data), one for those that are `alike`."""
    first = {row: cluster[0] for cluster in alike for row in cluster}
    found = np.array([first.get(row, row) for row in images.tolist()])
    return found if len(np.unique(found)) < len(images) else None


def _panel(folder: Path, tested: dict[str, list[Row]]) -> tuple[Panel, np.ndarray]:
    labels = images = None
    runs: dict[str, list[Member]] = {}
    for label, finals in tested.items():
        for row in finals:
            stored = read_logits(of_run(folder, row, LOGITS).open_checked(folder))
            if images is not None and not np.array_equal(images, stored.rows):
                raise InputError(
                    f"{folder}: run {row['run']} of {label} was tested on other images than the "
                    "runs before it; analyse studies of one test split"
                )
            images, labels = stored.rows, stored.labels
            member = Member(label, row["seed"], stored.logits, row["run"], row["trainable"] or 0)
            runs.setdefault(label, []).append(member)
    assert labels is not None  # `tested` is not empty
    assert images is not None
    first = next(iter(tested.values()))[0]
    task = parse_task(first["task"]) if first.get("task") else SingleLabel()
    return Panel(labels, runs, task, first.get("metric") or ""), images


def _validation(folder: Path, trials: Sequence[Row]) -> tuple[dict[str, Member], np.ndarray | None]:
    """Those of every method, or none: a choice among some of the methods would not be one."""
    found: dict[str, Member] = {}
    labels = None
    for row in trials:
        if row["stage"] != "trial" or not is_kept(folder, row, VALIDATION):
            return {}, None
        stored = read_logits(of_run(folder, row, VALIDATION).open_checked(folder))
        labels = stored.labels
        found[row["label"]] = Member(row["label"], row["seed"], stored.logits, row["run"])
    return found, labels


def _order(board: list[Standing], tested: Container[str]) -> tuple[str, ...]:
    """As the winner is chosen: validation accuracy, then fewer parameters, then the name. A study
    without trials has no such order: then it is the alphabet's."""
    here = [entry for entry in board if entry["label"] in tested]
    here.sort(key=by_validation)
    return tuple(entry["label"] for entry in here)
