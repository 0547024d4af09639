"""What the caller of a comparison asks for, out of the options of a verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foldtune.errors import InputError
from foldtune.options.groups import DataOptions, HeadOptions, SearchOptions, TrainOptions
from foldtune.options.taken import non_defaults, of
from foldtune.study.bench.run import ATTENTIVE
from foldtune.study.terms.settings import recipe_fields
from foldtune.tasks.parsing import is_task
from foldtune.training.recipe import Recipe
from foldtune.tunings.reading import head_of


@dataclass(frozen=True)
class Asked:
    """What the caller says of a comparison. recipe: all of how to train, in place of `training`;
    task: of the protocol, or of what published values are for; head: where classifiers start; None,
    and the searching's None: the protocol decides, or our default. pooled: whether AttentiveProbe
    stands on top of every method (`--head attentive`)."""

    methods: tuple[str, ...] = ()
    searching: SearchOptions = SearchOptions()
    head: str | None = None
    training: TrainOptions = TrainOptions()
    recipe: Recipe | None = None
    task: str | None = None
    pooled: bool = False

    @classmethod
    def of(cls, methods: Sequence[str], recipe: Recipe | None, options: Mapping[str, Any]) -> Asked:
        """Out of the options of a verb. Raises InputError where they and the recipe, or a protocol
        and the recipe, both say how to train."""
        searching, training = of(SearchOptions, options), of(TrainOptions, options)
        given = non_defaults(training).keys() - (
            {"imbalance"} if len(_remedies(training)) > 1 else set()
        )
        if recipe is not None and (given or searching.protocol is not None):
            name = getattr(searching.protocol, "name", searching.protocol)
            both = ", ".join(given) if given else f"protocol {name}"
            raise InputError(f"a recipe and {both} both say how to train; leave one out")
        task = options.get("task")
        task = None if task is None or is_task(task) else task
        head = head_of(of(HeadOptions, options))
        pooled = head == ATTENTIVE
        head = None if pooled else head
        return cls(tuple(methods or ()), searching, head, training, recipe, task, pooled)

    def reading(self, options: Mapping[str, Any]) -> DataOptions:
        """How images are read: a task that is the protocol's is not what labels say."""
        found = of(DataOptions, options)
        return found if self.task is None else replace(found, task=None)

    @property
    def base(self) -> Recipe:
        """The recipe where no protocol is followed."""
        return self.recipe or Recipe(**recipe_fields(self.training))

    @property
    def remedies(self) -> tuple[str, ...]:
        """What the search is to try against classes of unlike size; none where one is named."""
        found = _remedies(self.training)
        return found if len(found) > 1 else ()


def _remedies(training: TrainOptions) -> tuple[str, ...]:
    named = training.imbalance
    return (named,) if isinstance(named, str) else tuple(named)
