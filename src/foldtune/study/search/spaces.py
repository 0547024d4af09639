"""What to try: the same number of configurations for every method, from its declared space."""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from foldtune.core.method import LogRange, Method, settings
from foldtune.errors import InputError, unknown_name
from foldtune.methods.catalogue import catalogue, parse, sources
from foldtune.training.recipe import Recipe

Space = Mapping[str, LogRange | tuple[Any, ...]]
Values = Mapping[str, Any]

SAMPLERS = ("sobol", "grid", "tpe", "random")
TRIALS = 4  # of each method, where nothing is said
_GRID = 3  # points of a range in a grid: its ends and its middle
# Names that most methods search: each has a dimension of the sequence for itself, so that trial n
# of one method has the same share of its range of learning rates as trial n of any other.
_SHARED = ("lr", "weight_decay", "rank", "scale")
_DIMENSIONS = 16  # always as many, since the scramble of one depends on their number
_RECIPE = frozenset(f.name for f in fields(Recipe))


@dataclass(frozen=True)
class Entrant:
    """A method that takes part: its name in tables, its settings, and what may be varied.

    start: values to try before any other, within the same budget.
    """

    label: str
    method: Method
    space: Space
    start: tuple[Values, ...] = ()

    @classmethod
    def parse(cls, text: str, given: Space | None = None) -> Entrant:
        """From the text a user gives: `LoRA` has its rank searched too, `LoRA(rank=8)` keeps its
        settings and has only the recipe searched.

        given: a protocol's space in the place of the method's own; settings that the text spells
        keep their value there, the others are searched.
        """
        found = cls._parse(text, given)
        own = sources(found.method)  # a method that was written anew is another one in a table
        return replace(found, label=" ".join([found.label, *(f"@{h[:6]}" for h in own.values())]))

    @classmethod
    def _parse(cls, text: str, given: Space | None) -> Entrant:
        method = parse(text)
        if given is not None:
            spelt = {name for name in given if re.search(rf"\b{name}\s*=", text)}
            known = _RECIPE | set(settings(method))
            space: Space = {k: v for k, v in given.items() if k in known and k not in spelt}
            bare = text.strip() in catalogue()
            return cls(text.strip() if bare else repr(method), method, space)
        if text.strip() in catalogue():
            return cls(text.strip(), method, type(method).space)
        return cls.of(method)

    @classmethod
    def of(cls, method: Method) -> Entrant:
        """Of a method that keeps its settings: only the recipe is searched."""
        # A sum's recipe is searched where its parts agree to look; the first part decides.
        space = {k: v for k, v in type(method.parts[0]).space.items() if k in _RECIPE}
        return cls(repr(method), method, space)

    def starting(self, values: Sequence[Values]) -> Entrant:
        """The same, with these values tried first; what it does not vary is left out of them."""
        kept = tuple({k: v for k, v in one.items() if k in self.space} for one in values)
        return replace(self, start=tuple(one for one in kept if one))

    def starting_at(self, head: str | None) -> Entrant:
        """The same, its classifier starting at `head`: one that is not solved is trained, so the
        recipe is searched and not the penalty."""
        trained = self.method.only_classifier and head not in (None, "probe")
        return replace(self, space=Method.space) if trained else self

    def varying(self, name: str, values: Sequence[str], known: Sequence[str]) -> Entrant:
        """The same, with these values of a field of the recipe searched too."""
        odd = next((value for value in values if value not in known), None)
        if odd is not None:
            raise unknown_name(f"recipe {name}", odd, known)
        return replace(self, space={**self.space, name: tuple(dict.fromkeys(values))})

    def configure(self, base: Recipe, values: Values) -> tuple[Method, Recipe]:
        """The method and the recipe with these values."""
        of_recipe = {k: v for k, v in values.items() if k in _RECIPE}
        of_method = {k: v for k, v in values.items() if k not in _RECIPE}
        lr = of_recipe.get("lr", base.lr)
        # The cosine must not end, nor the warm-up start, above a small peak.
        of_recipe["min_lr"] = min(base.min_lr, lr / 10)
        of_recipe["warmup_lr"] = min(base.warmup_lr, lr / 10)
        method = replace(self.method, **of_method) if of_method else self.method  # type: ignore[type-var]
        return method, replace(base, **of_recipe)


def candidates(
    entrant: Entrant, base: Recipe, trials: int | None, seed: int, sampler: str = "sobol"
) -> list[tuple[Method, Recipe]]:
    """The configurations of one method, known beforehand; see `plan_values`."""
    found = plan_values(entrant, trials, seed, sampler)
    return [entrant.configure(base, values) for values in found]


def plan_values(
    entrant: Entrant, trials: int | None, seed: int, sampler: str = "sobol"
) -> list[Values]:
    """The first `trials` values of one method, its `start` before all others.

    sobol: first the usual value of each number, the middle of its range unless that says another,
    and the default of each choice. That is the first point of a scrambled Sobol sequence (Sobol
    1967; Owen 1995), whose next three lie in the three other quarters of every range. random: the
    usual ones, then independent draws.
    grid: every choice with every other, a range as its ends and its middle, the last name varying
    fastest; with a number of trials, so many points of it, drawn without repetition. A larger
    budget only adds to a smaller one. Draws go by the name of what is searched and by the seed, and
    not by the method: no method has better luck with its learning rates than another. trials=None:
    the whole grid, or TRIALS of the others.
    """
    if trials is not None and trials < 1:
        raise InputError(f"trials must be at least 1, not {trials}")
    if sampler == "grid":
        found = _grid(entrant.space)
        if trials is not None and trials < len(found):
            found = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
    elif sampler in ("sobol", "random"):
        count = (trials or TRIALS) - len(entrant.start)
        draw = _sobol if sampler == "sobol" else _random
        found = [_usual(entrant.space), *draw(entrant, count - 1, seed)] if count > 0 else []
    else:
        raise unknown_name("search", sampler, SAMPLERS)
    found = [*entrant.start, *(values for values in found if values not in entrant.start)]
    return found if trials is None else found[:trials]


def _usual(space: Space) -> Values:
    ranges = {n: choice for n, choice in space.items() if isinstance(choice, LogRange)}
    return {n: one.usual or at(one, 0.5) for n, one in ranges.items()}


def _sobol(entrant: Entrant, count: int, seed: int) -> list[Values]:
    """The `count` points after the first, which is where the usual value stands: beside a sequence
    that knew nothing of it four trials left low rates untried, with seed 0 the lowest 40 %."""
    space = entrant.space
    if count < 1 or not space:
        return []
    from scipy.stats import qmc

    others = iter(range(len(_SHARED), len(_SHARED) + len(space)))
    places = [_SHARED.index(n) if n in _SHARED else next(others) for n in space]
    size = max(_DIMENSIONS, max(places) + 1)
    sequence = qmc.Sobol(size, rng=np.random.default_rng(seed))
    points = sequence.random(2 ** math.ceil(math.log2(count + 1)))[: count + 1, places]
    # Exchanging quarters by exclusive or keeps the points as evenly spread as they were. Quarters
    # alone, so that usual values in the same one leave methods the same shares of their ranges.
    quarters = np.floor(4 * points).astype(int)
    usual = [_quarter(entrant, name, own) for name, own in zip(space, quarters[0], strict=True)]
    moved = (quarters ^ quarters[0] ^ np.array(usual)) + 4 * points - quarters
    return [_values(space, point) for point in (moved[1:] / 4).tolist()]


def _quarter(entrant: Entrant, name: str, otherwise: int) -> int:
    """The quarter of what is searched that holds its usual value, of a range or of choices."""
    choice = entrant.space[name]
    if isinstance(choice, LogRange):
        low, usual = choice.low, choice.usual
        share = 0.5 if usual is None else math.log(usual / low) / math.log(choice.high / low)
    else:
        usual = getattr(Recipe if name in _RECIPE else entrant.method, name)
        if usual not in choice:
            return otherwise
        share = (choice.index(usual) + 0.5) / len(choice)
    return min(int(4 * share), 3)


def _random(entrant: Entrant, count: int, seed: int) -> list[Values]:
    space = entrant.space
    if not space:
        return []
    drawn = [np.random.default_rng([seed, zlib.crc32(n.encode())]).random(count) for n in space]
    return [_values(space, point) for point in np.stack(drawn, 1).tolist()]


def _grid(space: Space) -> list[Values]:
    axes = [
        tuple(at(choice, i / (_GRID - 1)) for i in range(_GRID))
        if isinstance(choice, LogRange) else choice
        for choice in space.values()
    ]  # fmt: skip
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*axes)]


def _values(space: Space, point: Sequence[float]) -> Values:
    return {n: at(choice, u) for (n, choice), u in zip(space.items(), point, strict=True)}


def at(choice: LogRange | tuple[Any, ...], u: float) -> Any:
    """The value at share u in [0, 1] of a range (to two digits) or a tuple of choices."""
    if isinstance(choice, LogRange):
        return round_rate(math.exp(math.log(choice.low) + u * math.log(choice.high / choice.low)))
    return choice[min(int(u * len(choice)), len(choice) - 1)]


def round_rate(value: float) -> float:
    """To two digits: a learning rate means no more."""
    return float(f"{value:.1e}")
