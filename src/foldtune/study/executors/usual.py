"""Whether a study's runs go to processes of their own where nobody said who executes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from foldtune.backbones import Backbone
from foldtune.backbones.loading import known_by_name
from foldtune.core.structure.probe import eval_mode
from foldtune.judging.counters import counting
from foldtune.processes import cores, memory
from foldtune.processes import processes as together
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.room import size_of
from foldtune.study.executors.place import in_store
from foldtune.study.executors.processes import at_once
from foldtune.training.recipe import Recipe
from foldtune.training.speed.memory import bound_of

# Operations of a study below which it ends in this process before others have started: a core makes
# 2e10 to 1e11 a second, and a worker takes five of its seconds to import what it needs.
WORTH = 5e12
_SHARE = 0.5  # of the memory, that all workers may take


def usual_executor(
    bench: Bench, runs: Sequence[tuple[Recipe, int, int]], own: bool, room: int | None = None
) -> str | None:
    """`processes` where a study on a CPU is long enough and has room; None: in this process.

    runs: a recipe, and how many trials and final runs have it. own: whether a method is known in
    this process alone. room: bytes of memory, by default all. Steps are over many small tensors, at
    each of which threads wait for each other, so a run a core is faster than one run on all cores.
    Counted and not timed, so that a study goes the same way each time. Never where a worker would
    not find backbone and pixels by themselves, nor where the caller keeps torch to one thread, nor
    where the steps of all would take more than half of the memory.
    """
    if own or together() > 1 or min(cores(), torch.get_num_threads()) == 1:
        return None
    if _device(bench) != "cpu":
        return None
    if not known_by_name(str(bench.identity["weights"])) or not in_store(bench.data):
        return None
    if _operations(bench, runs) < WORTH:
        return None
    batch = max((recipe.batch_size for recipe, _, _ in runs), default=1)
    rows = len(bench.data.split("train", "val"))
    each = _need(bench.backbone, min(batch, rows))
    room = memory() if room is None else room
    return "processes" if at_once() * each <= _SHARE * room else None


def _device(bench: Bench) -> str:
    """Where runs train: what was named, else what is there."""
    if bench.device is not None:
        return torch.device(bench.device).type
    return "cuda" if torch.accelerator.is_available() else "cpu"


def _operations(bench: Bench, runs: Sequence[tuple[Recipe, int, int]]) -> float:
    """Of all runs, at three forward passes a step's image."""
    train, val = (len(bench.data.split(name)) for name in ("train", "val"))
    images = sum(
        recipe.epochs * (trials * (3 * train + val) + finals * 3 * (train + val))
        for recipe, trials, finals in runs
    )
    model = bench.backbone.model
    with torch.no_grad(), eval_mode(model), counting() as counter:
        model(bench.backbone.example(1))
    return float(images * counter.get_total_flops())


def _need(backbone: Backbone, batch: int) -> int:
    """Bytes that a run takes where everything trains."""
    model = backbone.model
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(True)
        return bound_of(model, backbone.example(2), 0).need(batch) + size_of(model)
    finally:
        for parameter, before in trained:
            parameter.requires_grad_(before)
