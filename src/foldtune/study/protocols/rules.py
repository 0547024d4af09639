"""A protocol: what a file of this folder says, for one task, family of backbones and method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import torch

from foldtune.augment.batch import augment
from foldtune.backbones import Backbone
from foldtune.data import ImageData
from foldtune.errors import InputError, unknown_name
from foldtune.study.protocols.tasks import recognise, vtab_tasks
from foldtune.study.search.halving import shorten
from foldtune.study.search.spaces import Entrant, Space
from foldtune.training.recipe import Recipe, recipe_of

_RECIPE = frozenset(f.name for f in fields(Recipe))
_NOT_RECIPE = frozenset({"task", "family", "method", "space", "add", "data"})
NORMALISATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


@dataclass(frozen=True)
class Protocol:
    """A protocol for one task and family of backbones; `facts` is the file as it is.

    changes: recipe fields that the caller sets otherwise.
    """

    name: str
    facts: Mapping[str, Any] = field(repr=False)
    task: str | None = None
    family: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it knows values for; none where it takes any."""
        told = self.facts.get("tasks", ())
        return vtab_tasks() if told == "vtab" else tuple(told)

    @property
    def entrants(self) -> tuple[str, ...]:
        return tuple(self.facts["entrants"])

    @property
    def search(self) -> Mapping[str, Any]:
        """sampler, ties, and trials where it is not the whole grid."""
        return {"trials": None, **self.facts["search"]}

    @property
    def data(self) -> Mapping[str, Any]:
        """size, resize, interpolation, normalise, splits."""
        found = dict(self.facts["data"])
        for one in self._given_entries(None):
            found |= one.get("data", {})
        return found

    def missing(self) -> tuple[str, ...]:
        """What the protocol asks for and the training loop or the augmentation cannot do."""
        told: dict[str, None] = {}
        for one in [self.facts["recipe"], *self.facts.get("given", ())]:
            if one is self.facts["recipe"] or self._applies(one):
                unknown_here = one.keys() - _RECIPE - _NOT_RECIPE
                told |= {f"{key} {one[key]}": None for key in sorted(unknown_here)}
        told |= dict.fromkeys(self._augmentation()[1])
        return tuple(told)

    def all_missing(self) -> tuple[str, ...]:
        """As `missing`, over every task and family."""
        families = self.facts.get("families") or (None,)
        tasks = (self.task,) if self.task else self.tasks or (None,)
        each = (self.for_task(t, f).missing() for t in tasks for f in families)
        return tuple(dict.fromkeys(told for one in each for told in one))

    def recipe(self, method: str) -> Recipe:
        """The recipe of a method (its class's name), without what is `missing`."""
        wanted = dict(self.facts["recipe"])
        for one in self._given_entries(method):
            wanted |= {k: v for k, v in one.items() if k not in _NOT_RECIPE}
        wanted["augment"] = self._augmentation()[0]
        known = {k: v for k, v in wanted.items() if k in _RECIPE}
        changes = dict(self.changes)
        made = recipe_of(known | _cap_schedule(known))
        epochs = changes.pop("epochs", made.epochs)
        return replace(shorten(made, epochs), **changes)

    def space(self, method: str) -> Space | None:
        """What is searched for a method; None for the method's own space."""
        if self.facts.get("own_spaces"):
            return None
        found = self.facts.get("methods", {}).get(method, self.facts.get("space", {}))
        for one in self._given_entries(method):
            found = {**one.get("add", {}), **one.get("space", found)}
        return {name: tuple(choices) for name, choices in found.items() if name not in self.changes}

    def entrant(self, text: str) -> tuple[Entrant, Recipe]:
        """A method that takes part, as the user spells it, with its recipe."""
        plain = Entrant.parse(text)
        name = type(plain.method.parts[0]).__name__
        space = self.space(name)
        return plain if space is None else Entrant.parse(text, space), self.recipe(name)

    def with_transform(self, backbone: Backbone) -> Backbone:
        """The backbone that takes images as the protocol says; the size stays the backbone's."""
        told = self.data
        changed = {key: told[key] for key in ("resize", "interpolation") if key in told}
        if told.get("normalise", "backbone") != "backbone":
            mean, std = NORMALISATIONS[told["normalise"]]
            changed |= {"mean": mean, "std": std}
        return replace(backbone, transform=replace(backbone.transform, **changed))

    def check_reading(self, data: ImageData) -> None:
        """Refuse images that were decoded in another way than the protocol says."""
        for key in ("resize", "interpolation"):
            wanted, had = self.data.get(key), data.facts.get(key)
            if wanted is not None and had is not None and wanted != had:
                raise InputError(
                    f"protocol {self.name} decodes images with {key} {wanted}, these have {had}; "
                    f"leave --{key} out, or load the data for protocol.transformed(backbone)"
                )

    def for_known_task(self, task: str) -> Protocol:
        """The same for one of its tasks, by any of its names."""
        named = recognise(task, self.tasks)
        if named is None:
            raise unknown_name(f"task of {self.name}", task, self.tasks)
        return self.for_task(named)

    def for_task(self, task: str | None, family: str | None = None) -> Protocol:
        """The same for a task by its own name; None where it has none."""
        return replace(self, task=task, family=family)

    def _augmentation(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The augmentations that exist here, and those that do not."""
        wanted = self.facts["recipe"].get("augment", ())
        for one in self._given_entries(None):
            wanted = one.get("augment", wanted)
        there = tuple(kind for kind in wanted if _augments(kind))
        return there, tuple(f"augmentation {kind}" for kind in wanted if kind not in there)

    def _given_entries(self, method: str | None) -> list[Mapping[str, Any]]:
        entries = self.facts.get("given", ())
        return [e for e in entries if self._applies(e) and e.get("method") in (None, method)]

    def _applies(self, entry: Mapping[str, Any]) -> bool:
        return all(
            key not in entry or own in _several(entry[key])
            for key, own in (("task", self.task), ("family", self.family))
        )


@cache
def _augments(kind: str) -> bool:
    """Whether the augmentation exists here, told by using it."""
    try:
        augment(torch.zeros(1, 3, 8, 8), (kind,), torch.Generator())
    except InputError:
        return False
    return True


def _cap_schedule(recipe: Mapping[str, Any]) -> dict[str, float]:
    """Bounds of the schedule that a protocol leaves out, under a small peak."""
    lr = recipe.get("lr", Recipe.lr)
    bounds = {"min_lr": Recipe.min_lr, "warmup_lr": Recipe.warmup_lr}
    return {key: min(recipe.get(key, bound), lr / 10) for key, bound in bounds.items()}


def _several(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value
