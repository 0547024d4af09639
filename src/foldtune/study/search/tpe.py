"""A search that learns: Optuna's tree-structured Parzen estimator, by ask and tell."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from foldtune.analysis.leaderboard import is_failed
from foldtune.analysis.row import Row
from foldtune.core.method import LogRange
from foldtune.study.search.plan import Trial
from foldtune.study.search.spaces import TRIALS, Entrant, Values, plan_values, round_rate
from foldtune.training.recipe import Recipe

if TYPE_CHECKING:
    import optuna


_FIRST = 5  # trials of the Sobol sequence before the estimator proposes
_DRAWS = 20  # proposals looked at for one that was not tried yet
_TOGETHER = 4  # proposals of one batch


class Proposed:
    """Five trials of the Sobol search, then what TPE proposes from the accuracies so far, four by
    four.

    Source: Bergstra et al., NeurIPS 2011; Watanabe, 2023. The state is rebuilt from rows alone: the
    same seed and the same rows, told in the same order, ask the same. The four of a batch do not
    see each other's accuracy, a constant liar keeps them apart; the batch is as large whoever
    executes it, so a study asks the same with one worker as with many. A run that diverged counts
    as accuracy 0, one that failed is spent and teaches nothing.
    """

    def __init__(self, entrant: Entrant, base: Recipe, trials: int | None, seed: int) -> None:
        import optuna

        self._entrant, self._base, self._trials = entrant, base, trials or TRIALS
        self._first = plan_values(entrant, min(self._trials, _FIRST), seed)
        own = zlib.crc32(f"{seed} {entrant.label}".encode())
        sampler = optuna.samplers.TPESampler(n_startup_trials=len(self._first), seed=own)
        self._study = quiet_study(sampler)
        self._distributions = distributions(entrant, base)
        self._asked: list[Values] = []
        self._open: list[tuple[Values, optuna.trial.Trial | None]] = []

    def ask(self) -> list[Trial]:
        # The first ones teach the estimator, so none of its own is asked in one batch with them.
        number = len(self._asked)
        until = len(self._first) if number < len(self._first) else number + _TOGETHER
        for _ in range(number, min(until, self._trials)):
            proposed = self._next()
            if proposed is None:  # a space of few points is used up
                self._trials = len(self._asked)
                break
            self._asked.append(proposed[0])
            self._open.append(proposed)
        return [
            Trial(number + i, values, *self._entrant.configure(self._base, values))
            for i, (values, _) in enumerate(self._open)
        ]

    def tell(self, rows: Sequence[Row]) -> None:
        import optuna

        for (values, trial), row in zip(self._open, rows, strict=True):
            lost = is_failed(row)  # it says nothing about its accuracy
            value = None if lost else row.get("val_accuracy") or 0.0
            state = _fail_state() if lost else optuna.trial.TrialState.COMPLETE
            if trial is not None:
                self._study.tell(trial, value, state=state)
                continue
            given = optuna.trial.create_trial(
                params=parameters(self._entrant, self._base, values),
                distributions=self._distributions,
                value=value,
                state=state,
            )
            self._study.add_trial(given)
        self._open = []

    def _next(self) -> tuple[Values, optuna.trial.Trial | None] | None:
        if len(self._asked) < len(self._first):
            return self._first[len(self._asked)], None
        for _ in range(_DRAWS):
            trial = self._study.ask(self._distributions)
            values = {
                name: round_rate(value)
                if isinstance(self._entrant.space[name], LogRange)
                else value
                for name, value in trial.params.items()
            }
            if values not in self._asked:
                return values, trial
            self._study.tell(trial, state=_fail_state())
        return None


def parameters(entrant: Entrant, base: Recipe, values: Values) -> dict[str, Any]:
    """Every name of the space with its value; those not given have the default's."""
    method, recipe = entrant.configure(base, values)
    return {name: getattr(recipe, name, getattr(method, name, None)) for name in entrant.space}


def distributions(entrant: Entrant, base: Recipe) -> dict[str, Any]:
    """A space as Optuna's, with the defaults and the values tried first taken in."""
    import optuna

    def one(name: str, choice: LogRange | tuple[Any, ...]) -> Any:
        if isinstance(choice, LogRange):
            given = [start[name] for start in entrant.start if name in start]
            bounds = [choice.low, choice.high, *given]
            return optuna.distributions.FloatDistribution(min(bounds), max(bounds), log=True)
        also = [parameters(entrant, base, values)[name] for values in ({}, *entrant.start)]
        return optuna.distributions.CategoricalDistribution([*dict.fromkeys([*choice, *also])])

    return {name: one(name, choice) for name, choice in entrant.space.items()}


def quiet_study(sampler: Any = None) -> optuna.Study:
    """A study in memory that says nothing on its making."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize", sampler=sampler)
    finally:
        optuna.logging.set_verbosity(level)


def _fail_state() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL
