"""Protocols as data: how the papers trained, chose and tested, one TOML file each.

A protocol fixes the recipe, the space and the order of the search, the rule for ties, where the
classifier starts, and how images come in. `given` entries hold what it fixes for one task, family
of backbones or method. What the loop or the augmentation cannot do is found by looking, and named.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from foldtune.backbones import Backbone
from foldtune.errors import InputError, unknown_name
from foldtune.study.protocols.rules import NORMALISATIONS as NORMALISATIONS
from foldtune.study.protocols.rules import Protocol as Protocol
from foldtune.study.protocols.tasks import read, recognise, stems
from foldtune.study.protocols.tasks import vtab_tasks as vtab_tasks

_FAMILIES = frozenset({"swin", "convnext", "as_mlp", "mixer", "resnet"})


@cache
def protocols() -> dict[str, Protocol]:
    """Every protocol by name, our own first."""
    ordered = sorted(stems(), key=lambda stem: (stem != "ours", stem))
    return {stem: Protocol(stem, read(stem)) for stem in ordered}


def protocol(name: str) -> Protocol:
    """The protocol of that name."""
    if name not in protocols():
        raise unknown_name("protocol", name, protocols())
    return protocols()[name]


def settle_protocol(found: Protocol, source: str, backbone: Backbone, task: str | None) -> Protocol:
    """The protocol for data and a backbone: the task as given, or recognised in the data's name.

    Raises InputError for a task that it does not know, and where it needs one and none is found.
    """
    family = None
    if families := found.facts.get("families"):
        name = backbone.name.lower().replace("-", "_")
        family = next((f for f in families if f != "vit" and f in name), "vit")
        if any(other in name for other in _FAMILIES - set(families)):
            raise InputError(
                f"protocol {found.name} has no values for {backbone.name}; its families of "
                f"backbones are {', '.join(families)}"
            )
    if not found.tasks:
        return found.for_task(None, family)
    if task is None:
        task = found.tasks[0] if len(found.tasks) == 1 else found.task
    if task is not None:
        return replace(found.for_known_task(task), family=family)
    named = recognise(source, found.tasks)
    if named is None:
        raise InputError(
            f"protocol {found.name} needs a task and {source!r} names none; give --task, one of: "
            f"{', '.join(found.tasks)}"
        )
    return found.for_task(named, family)
