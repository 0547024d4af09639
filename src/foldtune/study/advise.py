"""Advice on which methods to try first on some data, and on what evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foldtune.analysis.row import Standing
from foldtune.analysis.tasks.advice import Case, published_cases, suggest
from foldtune.analysis.tasks.advice_check import check_advice
from foldtune.analysis.tasks.reference import above_chance
from foldtune.backbones import Backbone
from foldtune.core.attach import attach
from foldtune.core.method import LogRange, settings
from foldtune.errors import InputError
from foldtune.methods.catalogue import catalogue, parse
from foldtune.options.groups import AdviceOptions, DataOptions, ModelOptions
from foldtune.options.taken import of, takes
from foldtune.shown import Facts
from foldtune.study.bench.execute import Say
from foldtune.study.inputs import Data, Model, as_backbone, as_data, silent
from foldtune.study.look import look
from foldtune.study.results.predictions import judged_board
from foldtune.study.results.rowgate import readable
from foldtune.study.results.store import Store

_PROBE = "LinearProbe"
# VTAB-1K has 1,000 training images a task; far beyond, the published tables say little.
_MANY = 5000

Row = dict[str, Any]


@takes(AdviceOptions, ModelOptions, DataOptions)
def advise(data: Data, model: Model = "micro", *, say: Say = silent, **options: Any) -> Facts:
    """Methods to try first, with starting settings, and how sure that is.

    A study of your own counts as a further task where it has a LinearProbe. Methods that the
    backbone cannot take are left out and named. Raises InputError as `look` does.
    """
    asked = of(AdviceOptions, options)
    backbone = as_backbone(model, of(ModelOptions, options))
    data = as_data(data, backbone, asked.seed, of(DataOptions, options), say)
    seen = look(data, backbone, asked.seed)
    own, unused = study_cases([Path(folder) for folder in asked.studies])
    cases = [*published_cases(), *own]
    suggestions, refused = _possible(cases, seen, backbone, asked.suggestions)
    check = check_advice("last")
    return Facts(
        {
            "data": data.name,
            "backbone": backbone.name,
            "look": seen,
            "suggestions": [_with_text(row) for row in suggestions],
            "sure": sureness(suggestions),
            "evidence": {
                "published_tasks": len(cases) - len(own),
                "own_studies": [case.name for case in own],
                "unused_studies": unused,
                "refused_methods": refused,
                "unknown_methods": unknown_methods(cases),
            },
            "cautions": cautions(seen, backbone, cases),
            "record": {
                name: check[name]
                for name in ("advice", "baseline", "nested", "edge", "calibration")
            },
        }
    )


def study_cases(folders: Sequence[Path]) -> tuple[list[Case], dict[str, str]]:
    """The studies as evidence; those that cannot serve, with the reason.

    Methods that may be best there, as the study's own decision has it, have no shortfall: a study
    that tells nothing apart says so.
    """
    cases, unused = [], {}
    for folder in folders:
        store = Store(folder)
        store.read_seal()  # raises where rows were lost
        rows = readable(store.rows(), Path(folder))
        if not rows:
            raise InputError(f"{folder} has no finished run (no rows.jsonl, or an empty one)")
        tested: dict[str, tuple[float, Standing]] = {}
        board, decision = judged_board(folder)
        for entry in board:  # best first, so the first of a name stays
            name = str(entry["method"]).partition("(")[0]
            accuracy = entry["test_accuracy"]
            if accuracy is not None and "+" not in entry["method"]:
                tested.setdefault(name, (accuracy, entry))
        if _PROBE not in tested or len(tested) < 2:
            unused[str(folder)] = f"has no test figure of {_PROBE} and of another method"
            continue
        if decision is None:
            unused[str(folder)] = "has no test logits, so nothing tells its methods apart"
            continue
        best = max(accuracy for accuracy, _ in tested.values())
        cases.append(
            Case(
                str(folder),
                above_chance(tested[_PROBE][0], rows[0]["classes"]),
                {
                    name: 0.0 if entry["may_be_best"] else 100 * (best - accuracy)
                    for name, (accuracy, entry) in tested.items()
                },
                {name: _settings_of(entry) for name, (_, entry) in tested.items()},
                "own study",
            )
        )
    return cases, unused


def sureness(suggestions: Sequence[Row]) -> str:
    """In words, from the support of the first suggestion."""
    first = suggestions[0]["support"]
    often = f"the first comes within a point of the best in about {10 * first:.0f} of 10 such tasks"
    if first >= 0.75:
        return f"fairly sure: {often}"
    if first >= 0.5:
        return f"leaning to the first: {often}; try the others where a point matters"
    return f"unsure: {often}; compare them on your data"


def unknown_methods(cases: Sequence[Case]) -> list[str]:
    """The methods of which no case knows anything: they are never suggested, however good."""
    known = {name for case in cases for name in case.shortfall}
    return [name for name in catalogue() if name not in known]


def cautions(seen: Row, backbone: Backbone, cases: Sequence[Case]) -> list[str]:
    """What the evidence does not cover in this case."""
    said = []
    qualities = [case.quality for case in cases]
    if not backbone.pretrained:
        said.append("The backbone has random weights; all evidence is from pre-trained ones.")
    if not backbone.name.startswith("vit_base_patch16_224"):
        said.append(
            f"The published figures are of ViT-B/16 (ImageNet-21k), not of {backbone.name}."
        )
    if not min(qualities) <= seen["quality"] <= max(qualities):
        said.append(
            "The frozen features are "
            + ("worse" if seen["quality"] < min(qualities) else "better")
            + " on this data than on every task of the evidence."
        )
    if seen["images"] > _MANY:
        said.append(
            f"{seen['images']:,} images to train on are many more than the 1,000 of the published "
            "tasks; with many, Full comes close to the small methods or passes them "
            "(foldtune reference many-shot)."
        )
    if seen["largest_class"] > 2 / seen["classes"]:
        said.append(
            f"The classes are uneven (the largest is {seen['largest_class']:.0%}), so accuracy "
            "above chance is overstated."
        )
    return said


# -- private ---------------------------------------------------------------------------------------


def _possible(
    cases: Sequence[Case], seen: Row, backbone: Backbone, size: int
) -> tuple[list[Row], dict[str, str]]:
    """The suggestions that can be attached to the backbone, and why others cannot."""
    known = catalogue()
    names = list(dict.fromkeys(n for case in cases for n in case.shortfall if n in known))
    refused: dict[str, str] = {}
    while True:
        allowed = [name for name in names if name not in refused]
        rows = suggest(
            cases, seen["quality"], variance=seen["variance"], methods=allowed, size=size
        )
        failed = {r["method"]: _refusal(r["method"], backbone) for r in rows}
        failed = {name: why for name, why in failed.items() if why}
        if not failed:
            return rows, refused
        refused |= failed


def _refusal(name: str, backbone: Backbone) -> str:
    try:
        attach(backbone, catalogue()[name](), num_classes=2, seed=0).detach()
    except InputError as error:
        return str(error)
    return ""


def _with_text(row: Row) -> Row:
    """The suggestion with its settings as a method to write on the command line, and a recipe
    within the range that the method's own search allows."""
    method = catalogue()[row["method"]]
    defaults = {f.name: f.default for f in dataclasses.fields(method)}  # type: ignore[arg-type]
    own = {
        k: float(v) if isinstance(defaults[k], float) else v
        for k, v in row["settings"].items()
        if k in defaults
    }
    recipe = {k: v for k, v in row["settings"].items() if k in ("lr", "weight_decay")}
    space = method.space.get("lr")
    if "lr" in recipe and isinstance(space, LogRange):
        recipe["lr"] = min(max(recipe["lr"], space.low), space.high)
    kept = {k: v for k, v in row.items() if k != "settings"}
    return kept | {"name": row["method"], "method": repr(method(**own)), **recipe}


def _settings_of(entry: Standing) -> dict[str, Any]:
    recipe = entry["recipe"] or {}
    chosen = {k: recipe[k] for k in ("lr", "weight_decay") if k in recipe}
    plain = settings(parse(entry["method"]))
    return {k: v for k, v in plain.items() if isinstance(v, int | float)} | chosen
