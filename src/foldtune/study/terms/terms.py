"""The terms of a comparison: every option brought together and checked, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from foldtune.analysis.row import Description
from foldtune.backbones import Backbone
from foldtune.core.method import Method
from foldtune.errors import InputError, unknown_name
from foldtune.options.groups import SearchOptions
from foldtune.options.taken import non_defaults
from foldtune.study.bench.run import ATTENTIVE
from foldtune.study.protocols import Protocol, protocol, settle_protocol
from foldtune.study.protocols.published import published_values
from foldtune.study.search.halving import Halving
from foldtune.study.search.plan import Plan
from foldtune.study.search.spaces import TRIALS, Entrant
from foldtune.study.terms.asked import Asked
from foldtune.study.terms.settings import METHODS, named_attentive, recipe_fields, settle_recipe
from foldtune.training.recipe import REMEDIES, Recipe

STARTS = ("published",)
OWN = "own"  # each method's own start of the classifier
SEEDS = 3  # of each method's chosen configuration
FEW = 4  # trials below which a range of two decades is hardly searched: a draw in each half decade


@dataclass(frozen=True)
class Terms:
    """Who takes part with which recipe, how each is searched, with how many seeds it is tested."""

    entrants: tuple[tuple[Entrant, Recipe], ...]
    plan: Plan
    seeds: int
    head: str | None  # where classifiers start; None: where each method has them start
    protocol: Protocol | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)  # where it is not as the protocol says
    left_out: Mapping[str, str] = field(default_factory=dict)  # that cannot stand: label and why
    trained: Mapping[str, int] = field(default_factory=dict)  # bytes of each method's tuning

    def start(self, method: Method) -> str:
        """Where the classifier of a method starts."""
        return self.head or method.head_start

    def runs(self) -> list[tuple[Recipe, int, int]]:
        """Of each method the recipe that the search varies, its trials and its final runs."""
        trials = self.plan.trials or TRIALS
        return [
            (settle_recipe(entrant.method, recipe, self.start(entrant.method)), trials, self.seeds)
            for entrant, recipe in self.entrants
        ]

    def notes(self) -> list[str]:
        """What a reader must know of who takes part, of budget and protocol, one line each."""
        absent = [f"{label} left out: {reason}" for label, reason in self.left_out.items()]
        if self.protocol is None:
            return [*absent, *small_budget(self.plan.trials or TRIALS, self.seeds)]
        start = f"protocol {self.protocol.name},"
        return [
            *absent,
            *(f"{start} changed: {name} {value}" for name, value in self.changed.items()),
            *(f"{start} left out: {missing}" for missing in self.protocol.missing()),
        ]

    def description(self) -> Description:
        """For study.json."""
        halving = self.plan.halving
        told: Description = {
            "methods": [entrant.label for entrant, _ in self.entrants],
            "search": self.plan.sampler,
            "trials": self.plan.trials,
            "halving": None if halving is None else [halving.rungs, halving.factor],
            "ties": self.plan.ties,
            "seeds": self.seeds,
            "head": self.head or OWN,
            "epochs": self.entrants[0][1].epochs,
            "left_out": dict(self.left_out),
        }
        if self.protocol is not None:
            told["protocol"] = {
                "name": self.protocol.name,
                "task": self.protocol.task,
                "family": self.protocol.family,
                "changed": dict(self.changed),
                "missing": list(self.protocol.missing()),
                "differs": [dict(one) for one in self.protocol.facts.get("differs", ())],
            }
        return told


def small_budget(trials: int, seeds: int) -> list[str]:
    """What so few trials and seeds cannot tell, one line each; nothing where they suffice."""
    said = []
    if trials == 1:
        said.append(
            "1 trial is no tuning: each method runs once, at its usual rate, and which looks best "
            f"may be whose usual rate fits; --trials {TRIALS} tunes"
        )
    elif trials < FEW:
        said.append(
            f"{trials} trials are the usual learning rate and {trials - 1} "
            f"draw{'s' * (trials > 2)}: learning rates are hardly tuned; --trials {TRIALS} tunes"
        )
    if seeds == 1:
        said.append(
            "1 seed cannot tell which method is better, only which of these tunings; --seeds "
            f"{SEEDS} can"
        )
    return said


def settle_terms(asked: Asked, source: str, backbone: Backbone, seed: int) -> Terms:
    """The terms for data called `source`. Raises InputError for options that are unknown or
    contradict each other."""
    rules, searching, base = _protocol(asked, source, backbone), asked.searching, asked.base
    names = asked.methods or (rules.entrants if rules else METHODS)
    if not names:
        raise InputError("no methods to compare; name some, e.g. --methods SSF LoRA")
    if asked.pooled:
        names = tuple(dict.fromkeys(map(named_attentive, names)))
    head = asked.head or (rules.facts["head"] if rules else OWN)
    head = None if head == OWN else head
    pairs = [rules.entrant(n) if rules else (Entrant.parse(n), base) for n in names]
    if rules is None or rules.facts.get("own_spaces"):
        pairs = [(entrant.starting_at(head), its) for entrant, its in pairs]
    if remedies := asked.remedies:
        pairs = [(entrant.varying("imbalance", remedies, REMEDIES), its) for entrant, its in pairs]
    _refuse_doubles([entrant.label for entrant, _ in pairs])
    if searching.start_from is not None:
        pairs = [(_start_at(entrant, asked, rules, source), base) for entrant, base in pairs]
    if searching.seeds is not None and searching.seeds < 1:
        raise InputError(f"seeds must be at least 1, not {searching.seeds}: each winner is tested")
    plan = _plan(searching, rules, seed)
    seeds = searching.seeds or (rules.facts["seeds"] if rules else SEEDS)
    changed = _changes(rules, asked, backbone) if rules else {}
    return Terms(tuple(pairs), plan, seeds, head, rules, changed)


def _plan(searching: SearchOptions, rules: Protocol | None, seed: int) -> Plan:
    """How each method is searched."""
    told = rules.search if rules else {}
    halving: Halving | tuple[int, int] | None = searching.halving
    plan = Plan(
        sampler=searching.search or told.get("sampler", "sobol"),
        trials=told.get("trials") if searching.trials is None else searching.trials,
        seed=seed,
        halving=halving if isinstance(halving, Halving | None) else Halving(*halving),
        ties=searching.ties or told.get("ties", "small"),
    )
    if rules and plan.sampler == "grid" and searching.trials is None:
        plan = replace(plan, trials=None)
    return plan


def _changes(rules: Protocol, asked: Asked, backbone: Backbone) -> dict[str, Any]:
    """What the caller has otherwise than the protocol says."""
    told = dict(rules.changes)
    said = {
        "seeds": rules.facts["seeds"], "head": rules.facts["head"],
        "search": rules.search["sampler"], "ties": rules.search["ties"],
        "trials": rules.search["trials"], "halving": None,
    }  # fmt: skip
    for name, value in said.items():
        own = asked.head if name == "head" else getattr(asked.searching, name)
        if own is not None and own != value:
            told[name] = own
    if asked.pooled:
        told["head"] = ATTENTIVE
    if asked.methods and asked.methods != rules.entrants:
        told["methods"] = list(asked.methods)
    if rules.facts["backbone"] != "any" and backbone.name not in rules.facts["backbone"]:
        told["backbone"] = backbone.name
    if rules.data.get("size", backbone.transform.size) != backbone.transform.size:
        told["size"] = backbone.transform.size
    return {name: str(v) if isinstance(v, Halving) else v for name, v in told.items()}


def _protocol(asked: Asked, source: str, backbone: Backbone) -> Protocol | None:
    """The protocol that is followed, with what the caller has otherwise in its recipe."""
    said_of = asked.searching
    given: str | Protocol | None = said_of.protocol
    if given is None:
        if asked.task is not None and said_of.start_from is None:
            raise InputError(
                f"--task {asked.task} is for a protocol or for --start-from published; "
                "add --protocol NAME (see `foldtune protocols`)"
            )
        return None
    found = protocol(given) if isinstance(given, str) else given
    rules = settle_protocol(found, source, backbone, asked.task)
    lacking = rules.missing()
    if lacking and not said_of.approximate:
        raise InputError(
            f"protocol {found.name} asks for what cannot be done here: {', '.join(lacking)}; "
            "--approximate runs without it, and the study says so"
        )
    fields = recipe_fields(asked.training)
    changes = dict(rules.changes) | {name: fields[name] for name in non_defaults(asked.training)}
    if rules.facts["recipe"].get("precision") == "fp16" and not torch.accelerator.is_available():
        changes["precision"] = "fp32"  # a CPU only emulates the other
    return replace(rules, changes=changes)


def _start_at(entrant: Entrant, asked: Asked, rules: Protocol | None, source: str) -> Entrant:
    if asked.searching.start_from not in STARTS:
        raise unknown_name("start", str(asked.searching.start_from), STARTS)
    task = asked.task or (rules.task if rules else None) or source
    name = type(entrant.method.parts[0]).__name__
    return entrant.starting(published_values(name, task))


def _refuse_doubles(labels: Sequence[str]) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"{label} is named twice; name each method once")
