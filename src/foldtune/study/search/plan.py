"""What every search is made of: its plan, the trials it asks for, and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from foldtune.analysis.row import Row, Stage
from foldtune.analysis.selection import TIES
from foldtune.core.method import Method
from foldtune.errors import InputError, unknown_name
from foldtune.study.search.halving import Halving
from foldtune.study.search.spaces import SAMPLERS, Values
from foldtune.training.recipe import Recipe


@dataclass(frozen=True)
class Trial:
    """A configuration to run. stage: "rung" where a longer run follows for the best, else
    "trial"; number: that of its values in the search, from 0."""

    number: int
    values: Values
    method: Method
    recipe: Recipe
    stage: Stage = "trial"


@dataclass(frozen=True)
class Plan:
    """How every method of a study is searched, each with the same budget.

    trials: configurations of each method; None: 4, or the whole grid. ties: see
    `foldtune.analysis.selection`. Raises InputError for options that contradict each other.
    """

    sampler: str = "sobol"
    trials: int | None = None
    seed: int = 0
    halving: Halving | None = None
    ties: str = "small"

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise unknown_name("search", self.sampler, SAMPLERS)
        if self.ties not in TIES:
            raise unknown_name("rule for ties", self.ties, TIES)
        if self.trials is not None and self.trials < 1:
            raise InputError(f"trials must be at least 1, not {self.trials}")
        if self.halving and self.sampler == "tpe":
            raise InputError(
                "halving needs all configurations at once and tpe proposes one after another; "
                "take --search sobol, random or grid, or leave --halving out"
            )


class Search(Protocol):
    """Asked for trials until it has none; told the rows of all that it gave, in their order.

    What it asks depends on the rows told alone, not on who executes them, nor on how many at once.
    """

    def ask(self) -> list[Trial]: ...

    def tell(self, rows: Sequence[Row]) -> None: ...
