"""Who can take part: everything that a study asks for is tried on its host and data first."""

from __future__ import annotations

from dataclasses import replace

import torch

from foldtune.backbones.clip_text import ZERO_SHOT, Prompts, zero_shot_head
from foldtune.backbones.prepare import prepare_for
from foldtune.core.structure.head import find_head
from foldtune.errors import InputError, some
from foldtune.methods.catalogue import sources
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.room import trained_bytes
from foldtune.study.bench.starts import refuse_zero_shot
from foldtune.study.search.candidates import dry, in_part
from foldtune.study.search.spaces import Entrant
from foldtune.study.terms.terms import Terms
from foldtune.training.batches import prepare_at, steps_per_epoch
from foldtune.training.device import check_precision, parse_device
from foldtune.training.optim.objective import objective
from foldtune.training.probe import classifier_inputs
from foldtune.training.recipe import Recipe


def try_entrants(terms: Terms, bench: Bench, *, named: bool) -> Terms:
    """The terms with those methods that stand, each attached dry, and the others left out.

    named: the user named these methods, so that one which cannot stand is refused; of the methods
    that take part by default it is left out. Raises InputError for that, where none stands, and for
    a start of the classifier or a recipe that no run could have.
    """
    for recipe in dict.fromkeys(recipe for _, recipe in terms.entrants):
        _try_recipe(recipe, bench)
    for head in dict.fromkeys(terms.start(entrant.method) for entrant, _ in terms.entrants):
        _try_start(head, bench)
    left_out: dict[str, str] = {}
    trained: dict[str, int] = {}
    for entrant, _ in terms.entrants:
        reason = _refusal(entrant, bench, named, trained)
        if reason is None:
            continue
        if named:
            raise reason
        left_out[entrant.label] = str(reason.args[0])
    if len(left_out) == len(terms.entrants):
        raise InputError(
            f"no method of {some(left_out)} can stand on {bench.backbone.name}: "
            f"{next(iter(left_out.values()))}; name others with --methods"
        )
    standing = tuple(pair for pair in terms.entrants if pair[0].label not in left_out)
    return replace(terms, entrants=standing, left_out=left_out, trained=trained)


def own_methods(terms: Terms) -> list[str]:
    """Names of the methods that this process alone knows."""
    return [name for entrant, _ in terms.entrants for name in sources(entrant.method)]


def refuse_elsewhere(terms: Terms, workers: int) -> None:
    """Raise InputError where worker processes would have to know a method that a notebook wrote."""
    own = own_methods(terms)
    if workers > 1 and own:
        raise InputError(
            f"{own[0]} is known in this process alone, and {workers} workers would not find it; "
            "leave the workers out, or make it a plug-in (docs/methods-of-your-own.md)"
        )


def _refusal(
    entrant: Entrant, bench: Bench, named: bool, trained: dict[str, int]
) -> InputError | None:
    """Why the method cannot stand here, or, unless it was named, why it would stand on a part of
    its places; None where it can: then `trained` gets the bytes of its tuning. The backbone is
    plain after."""
    classes = bench.data.task.logits(len(bench.data.outputs))
    told = dry(bench.backbone, entrant.method, entrant.label, classes, trained_bytes)
    if isinstance(told, InputError):
        return told
    size, short = told
    if short and not named:
        return in_part(short)
    trained[entrant.label] = size
    return None


def _try_recipe(recipe: Recipe, bench: Bench) -> None:
    prepare = prepare_for(bench.backbone, recipe.augment)
    for _, side in recipe.phases:
        prepare_at(prepare, side)
    rows = bench.data.split("train")
    steps_per_epoch(len(rows), recipe)
    objective(bench.data.task, recipe, bench.data.targets[rows])
    device = parse_device(bench.device)
    if device is None and torch.accelerator.is_available():  # torch 2.6 raises where there is none
        device = torch.accelerator.current_accelerator()
    check_precision(recipe.precision, device or torch.device("cpu"))


def _try_start(head: str, bench: Bench) -> None:
    """Two images are enough to see whether a probe is given vectors; a text tower has none."""
    if head.startswith(ZERO_SHOT):
        refuse_zero_shot(bench.data.task)
        zero_shot_head(bench.backbone, bench.data.outputs, Prompts.parse(head))
    elif head in ("probe", "regularised"):
        rows, prepare = bench.data.split("train")[:2], prepare_for(bench.backbone)
        path = find_head(bench.backbone.model)[0]
        classifier_inputs(bench.backbone.model, path, bench.data.pixels, rows, prepare)
