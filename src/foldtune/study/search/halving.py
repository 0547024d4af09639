"""Successive halving: many configurations for few epochs, the best of them for more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from foldtune.errors import InputError
from foldtune.training.recipe import Recipe


@dataclass(frozen=True)
class Halving:
    """Rungs of a search: each keeps one in `factor` and trains these `factor` times as long.

    Every rung's run is whole: from the start, with the warm-up and the cosine of its own number of
    epochs, so accuracies of one rung are compared at the end of a schedule, never in its middle.
    Source: Jamieson and Talwalkar, AISTATS 2016. Differs from it: runs are not continued.
    """

    rungs: int = 3
    factor: int = 3

    def __post_init__(self) -> None:
        if self.rungs < 2 or self.factor < 2:
            raise InputError(
                f"halving of {self.rungs} rungs by {self.factor} halves nothing; both must be at "
                "least 2, e.g. --halving 3 3"
            )

    def epochs(self, full: int) -> tuple[int, ...]:
        """Epochs of each rung, the last with all: 20 in three rungs by 3 are 2, 7 and 20."""
        found = tuple(round(full / self.factor**power) for power in reversed(range(self.rungs)))
        if found[0] < 1 or len(set(found)) < self.rungs:
            raise InputError(
                f"{full} epochs are too few for {self.rungs} rungs by {self.factor}, which need "
                f"{self.factor ** (self.rungs - 1)} or more; take fewer rungs or more epochs"
            )
        return found

    def counts(self, trials: int) -> tuple[int, ...]:
        """Configurations on each rung: 9 in three rungs by 3 are 9, 3 and 1."""
        if trials < self.factor:
            raise InputError(
                f"halving keeps one in {self.factor} of {trials} trials, which is none; give "
                f"--trials {self.factor ** (self.rungs - 1)} or more, or leave --halving out"
            )
        return tuple(max(1, trials // self.factor**power) for power in range(self.rungs))


def shorten(recipe: Recipe, epochs: int) -> Recipe:
    """The same recipe with another number of epochs, its warm-up in proportion."""
    if epochs == recipe.epochs:  # to the bit: else runs of the last rung would be computed twice
        return recipe
    warmup = recipe.warmup_epochs * epochs / recipe.epochs
    return replace(recipe, epochs=epochs, warmup_epochs=warmup)
