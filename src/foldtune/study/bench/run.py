"""A run: the frozen description from which one row is computed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property

from foldtune.analysis.row import Stage, Told
from foldtune.backbones.clip_text import ZERO_SHOT
from foldtune.core.method import Method, written_out
from foldtune.errors import unknown
from foldtune.training.recipe import Recipe

# Raised whenever the same description would give another row: finished runs are then run again.
REVISION = 4
HEAD_STARTS = ("regularised", "probe", "zero", "default", ZERO_SHOT)


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

    def __post_init__(self) -> None:
        if self.head.partition(" ")[0] not in HEAD_STARTS:
            raise unknown("start of the head", self.head, HEAD_STARTS)

    @property
    def tested(self) -> bool:
        """Whether the run may read the test split: after selection only."""
        return self.stage not in ("trial", "rung")

    def told(self) -> Told:
        """What its row says of it, whatever came of it."""
        return {
            "run": self.key, "stage": self.stage, "label": self.label, "trial": self.trial,
            "method": repr(self.method), "recipe": asdict(self.recipe), "seed": self.seed,
            "head_start": self.head, "data_identity": self.data,
        }  # fmt: skip

    @cached_property
    def key(self) -> str:
        """Content hash of the description; label and trial are names and do not count."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        del told["label"], told["trial"]
        told |= {"method": written_out(self.method), "recipe": asdict(self.recipe)}
        told["revision"] = REVISION
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
