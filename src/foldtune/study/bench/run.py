"""A run: the frozen description from which one row is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from foldtune.analysis.row import Later, Stage, Told
from foldtune.backbones.clip_text import ZERO_SHOT
from foldtune.core.method import Method, written_out
from foldtune.errors import unknown_name
from foldtune.methods.catalogue import sources
from foldtune.training.recipe import Recipe, recipe_values

# Raised whenever the same description would give another row: finished runs are then run again.
REVISION = 4
_OWN = ("label", "trial", "task", "metric")
FROM = "from"  # before the mark of a tuning that is gone on from
ATTENTIVE = (
    "attentive"  # no start: a word for the sum with AttentiveProbe, see study/terms/settings.py
)
HEAD_STARTS = ("regularised", "probe", "zero", "default", ZERO_SHOT, FROM)


@dataclass(frozen=True)
class Run:
    """Everything that decides a run's numbers; equal runs have equal keys.

    stage: "trial" (watch validation), "rung" (the same, a short run that decides which trials are
    run), "final" (train on train and validation, then read the test split once) or "fit" (watch
    validation, then read the test split once). head: where the classifier starts: "probe"
    (solved on the plain backbone's features), "regularised" (the same with so strong a penalty that
    training has something left to learn), "zero", "default" (nn.Linear's draw), or "zero-shot",
    followed by what prompts say (clip_text.py).
    """

    stage: Stage
    label: str
    method: Method
    recipe: Recipe
    seed: int
    backbone: str  # hash of its identity
    data: str  # identity
    splits: str  # hash of the membership
    train_on: tuple[str, ...]
    head: str
    trial: int | None = None  # its number in the search of its method, from 0
    task: str = ""  # what labels say; empty: one class an image
    metric: str = ""  # what judges; empty: accuracy

    def __post_init__(self) -> None:
        if self.head.partition(" ")[0] not in HEAD_STARTS:
            raise unknown_name("start of the head", self.head, (*HEAD_STARTS, ATTENTIVE))

    @property
    def tested(self) -> bool:
        """Whether the run may read the test split: after selection only."""
        return self.stage not in ("trial", "rung")

    def row_fields(self) -> Told:
        """What its row says of it, whatever came of it."""
        return {
            "run": self.key, "stage": self.stage, "label": self.label, "trial": self.trial,
            "method": repr(self.method), "recipe": recipe_values(self.recipe), "seed": self.seed,
            "head_start": self.head, "data_identity": self.data,
            **self._later(),
        }  # fmt: skip

    def _later(self) -> Later:
        """What came later and is left out where it is not used, so that earlier keys stay."""
        found: Later = {}
        if self.task:
            found["task"] = self.task
        if self.metric:
            found["metric"] = self.metric
        return found

    @cached_property
    def key(self) -> str:
        """Content hash of the description; label and trial are names and do not count."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _OWN}
        told |= {"method": written_out(self.method), "recipe": recipe_values(self.recipe)}
        told |= {"revision": REVISION, **self._later()}
        if own := sources(self.method):
            told["sources"] = own
        return short_hash(told)


def short_hash(facts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of SHA-256, of facts that JSON can hold, in whatever order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
