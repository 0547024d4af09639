"""What a tuning says of itself: all that is needed to use it later, and to judge it fairly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foldtune.data import ImageData
from foldtune.data.pictures.intensity import deeper
from foldtune.study.bench.run import Run
from foldtune.training.loop import Outcome
from foldtune.training.recipe import recipe_values

# What a tuning keeps of how its data was read.
_READ = ("range", "wide", "skip_broken", "max_pixels")
_DESCRIBED = ("source", "seed", "split_hash", "content", *_READ)


def tuning_facts(
    run: Run, outcome: Outcome, backbone: Mapping[str, Any], data: ImageData
) -> dict[str, Any]:
    """The header of a run's tuning, beside what the attachment says. backbone: its identity."""
    return {
        "backbone": backbone,
        "classes": list(data.outputs),
        **({} if data.task.usual else {"task": repr(data.task)}),
        "data": {"name": data.name, "identity": data.identity}
        | {k: data.facts.get(k) for k in _DESCRIBED}
        | deeper(data.facts),
        "training": {
            "recipe": recipe_values(run.recipe), "seed": run.seed, "train_on": list(run.train_on),
            "head_start": run.head, "verdict": outcome.verdict, "run": run.key,
        },
    }  # fmt: skip
