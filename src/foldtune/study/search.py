"""What to try: the same number of configurations for every method, from its declared space."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from foldtune.core.method import LogRange, Method
from foldtune.errors import InputError
from foldtune.methods.catalogue import catalogue, parse
from foldtune.training.recipe import Recipe

Space = Mapping[str, LogRange | tuple[Any, ...]]


@dataclass(frozen=True)
class Entrant:
    """A method that takes part: its name in tables, its settings, and what may be varied."""

    label: str
    method: Method
    space: Space

    @classmethod
    def named(cls, text: str) -> Entrant:
        """From the text a user gives: `LoRA` has its rank searched too, `LoRA(rank=8)` keeps its
        settings and has only the recipe searched."""
        method = parse(text)
        recipe = {f.name for f in fields(Recipe)}
        if text.strip() in catalogue():
            return cls(text.strip(), method, type(method).space)
        # A sum's recipe is searched where its parts agree to look; the first part decides.
        space = {k: v for k, v in type(method.parts[0]).space.items() if k in recipe}
        return cls(repr(method), method, space)


def candidates(
    entrant: Entrant, base: Recipe, trials: int, seed: int
) -> list[tuple[Method, Recipe]]:
    """The first `trials` configurations of one method.

    The first is the middle of the range of each number and the default of each choice; the others
    follow a scrambled Sobol sequence (Sobol 1967; Owen 1995), so that a larger budget only adds to
    a smaller one. They depend on nothing but the method, the budget's length and the seed.
    """
    if trials < 1:
        raise InputError(f"trials must be at least 1, not {trials}")
    from scipy.stats import qmc

    names = list(entrant.space)
    middle = {
        name: _at(entrant.space[name], 0.5) for name in names
        if isinstance(entrant.space[name], LogRange)
    }  # fmt: skip
    found = [_configured(entrant, base, middle)]
    if trials > 1 and names:
        own = np.random.default_rng([seed, zlib.crc32(entrant.label.encode())])
        points = qmc.Sobol(len(names), rng=own).random(2 ** math.ceil(math.log2(trials)))
        for point in points[: trials - 1]:
            values = {n: _at(entrant.space[n], u) for n, u in zip(names, point, strict=True)}
            found.append(_configured(entrant, base, values))
    return found


def _configured(entrant: Entrant, base: Recipe, values: Mapping[str, Any]) -> tuple[Method, Recipe]:
    recipe_fields = {f.name for f in fields(Recipe)}
    of_recipe = {k: v for k, v in values.items() if k in recipe_fields}
    of_method = {k: v for k, v in values.items() if k not in recipe_fields}
    lr = of_recipe.get("lr", base.lr)
    # The cosine must not end, nor the warm-up start, above a small peak.
    of_recipe["min_lr"] = min(base.min_lr, lr / 10)
    of_recipe["warmup_lr"] = min(base.warmup_lr, lr / 10)
    method = replace(entrant.method, **of_method) if of_method else entrant.method  # type: ignore[type-var]
    return method, replace(base, **of_recipe)


def _at(choice: LogRange | tuple[Any, ...], u: float) -> Any:
    """The value at share u in [0, 1) of a range (to two digits) or a tuple of choices."""
    if isinstance(choice, LogRange):
        value = math.exp(math.log(choice.low) + u * math.log(choice.high / choice.low))
        return float(f"{value:.1e}")
    return choice[min(int(u * len(choice)), len(choice) - 1)]
