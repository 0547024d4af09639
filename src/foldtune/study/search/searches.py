"""Searches by ask and tell: which configurations to run next, given the rows of those before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from foldtune.analysis.row import Row, Stage
from foldtune.analysis.selection import rank_trials
from foldtune.study.search.halving import Halving, shorten
from foldtune.study.search.plan import Plan, Search, Trial
from foldtune.study.search.spaces import Entrant, plan_values
from foldtune.study.search.tpe import Proposed
from foldtune.training.recipe import Recipe

# The part of all epochs from which on a rung tells which learning rate will be best.
_NEAR = 0.25


def search_for(entrant: Entrant, base: Recipe, plan: Plan) -> Search:
    """The search of one method."""
    if plan.sampler == "tpe":
        return Proposed(entrant, base, plan.trials, plan.seed)
    found = plan_values(entrant, plan.trials, plan.seed, plan.sampler)
    trials = [Trial(i, v, *entrant.configure(base, v)) for i, v in enumerate(found)]
    return Halved(trials, plan.halving) if plan.halving else AllAtOnce(trials)


class AllAtOnce:
    """All trials in one batch: they are known beforehand."""

    def __init__(self, trials: list[Trial]) -> None:
        self._left = trials

    def ask(self) -> list[Trial]:
        given, self._left = self._left, []
        return given

    def tell(self, rows: Sequence[Row]) -> None:
        pass


class Halved:
    """One rung a batch: the best of a rung go to the next, see `promote`."""

    def __init__(self, trials: list[Trial], halving: Halving) -> None:
        self._alive = trials
        self._full = trials[0].recipe.epochs
        self._rungs = list(
            zip(halving.epochs(self._full), halving.counts(len(trials)), strict=True)
        )

    def ask(self) -> list[Trial]:
        if not self._rungs:
            return []
        epochs, kept = self._rungs[0]
        stage: Stage = "rung" if self._rungs[1:] else "trial"
        self._alive = sorted(self._alive[:kept], key=lambda trial: trial.number)
        return [
            Trial(t.number, t.values, t.method, shorten(t.recipe, epochs), stage)
            for t in self._alive
        ]

    def tell(self, rows: Sequence[Row]) -> None:
        epochs, _ = self._rungs.pop(0)
        self._alive = [self._alive[i] for i in promote(rows, epochs < _NEAR * self._full)]
        if not self._alive:
            self._rungs = []


def promote(rows: Sequence[Row], spread: bool) -> list[int]:
    """Places of a rung's finished runs, those first that go on.

    By the sum of two places, that by validation accuracy and that by validation loss: accuracy is
    what counts in the end, but after a few steps it hardly tells runs apart; equal sums by
    accuracy, then loss, whatever rule chooses in the end. A run that gave the same as a better
    placed one, accuracy and loss to three digits, goes behind all others: decays that change
    nothing in so few steps would else take the places of what might become better.
    spread: the best of each decade of learning rates first, then the second of each, and so on, for
    rungs far from the end: which rate is best depends on how long one trains, and a short schedule
    favours small ones, the more so from a classifier that is solved already.
    """
    seen: set[tuple[float, str]] = set()
    first: list[int] = []
    twins: list[int] = []
    for place in rank_trials(rows, "loss"):
        given = (rows[place]["val_accuracy"], f"{_loss(rows[place]):.2e}")
        (twins if given in seen else first).append(place)
        seen.add(given)
    by_loss = {place: i for i, place in enumerate(sorted(first, key=lambda i: (_loss(rows[i]), i)))}
    sums = {place: i + by_loss[place] for i, place in enumerate(first)}
    decades: Counter[int] = Counter()
    rank: dict[int, int] = {}  # in its decade
    best_first = sorted(first, key=sums.__getitem__)
    if not spread:
        return best_first + twins
    for place in best_first:
        decade = math.floor(math.log10(rows[place]["recipe"]["lr"]))
        rank[place] = decades[decade]
        decades[decade] += 1
    return sorted(best_first, key=rank.__getitem__) + twins


def _loss(row: Row) -> float:
    loss = row.get("val_loss")
    return math.inf if loss is None else float(loss)
