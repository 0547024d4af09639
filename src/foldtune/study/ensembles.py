"""An ensemble of a study's final runs, as a folder of tunings (see `tunings/ensemble.py`)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from foldtune.analysis.ensemble import RULES, Choice, combine
from foldtune.analysis.panel import Member
from foldtune.analysis.row import Row
from foldtune.errors import InputError, unknown_name
from foldtune.files import filling, hash_of, refuse_full
from foldtune.study.results.analyses import choices
from foldtune.study.results.artefacts import TUNING, of_run, warn_of_unbound
from foldtune.study.results.predictions import Predictions, read_predictions
from foldtune.study.results.rowfile import replace
from foldtune.tasks.kinds import SingleLabel
from foldtune.tunings.ensemble import ENSEMBLE, FORMAT, checksum_of

SELECTIONS = ("all", "best", "greedy", "seeds")


def save_ensemble(
    study: Path, out: Path, *, select: str = "all", rule: str = "probabilities", k: int = 3,
    seed: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write an ensemble of a study's final runs to the folder `out`; what ensemble.json says.

    select: "all" methods; the "best" k on validation; "greedy" on validation; or "seeds", all
    seeds of the winner. seed: of the final runs (default: the first that all members have). No
    selection looks at the test split. Raises InputError where the study cannot give it.
    """
    if rule not in RULES:
        raise unknown_name("rule of an ensemble", rule, RULES)
    found = read_predictions(study)
    warn_of_unbound(found.rows)
    if not isinstance(found.panel.task, SingleLabel):
        raise InputError(
            f"an ensemble votes for one class an image, and {study} is of {found.panel.task!r}; "
            "use its winner's tuning"
        )
    choice, members, weights = _select(found, select, k, seed)
    rows = {row["run"]: row for row in found.rows}
    told: dict[str, Any] = {
        "format": FORMAT,
        "rule": rule,
        "chosen_by": choice.chosen_by,
        "passes": len(members),
        "test_accuracy": float(
            (combine(members, rule, weights).argmax(1) == found.panel.labels).mean()
        ),
        "test_images": len(found.panel.labels),
    }
    tunings = [of_run(study, rows[member.run], TUNING).path for member in members]
    refuse_full(out, sum(path.stat().st_size for path in tunings if path.is_file()))
    with filling(out) as fresh:
        told["members"] = _copy_members(study, fresh, zip(members, weights, strict=True), rows)
        sealed = {**told, "checksum": checksum_of(told)}
        replace(fresh / ENSEMBLE, (json.dumps(sealed, indent=2) + "\n").encode())
    return told


def _copy_members(
    study: Path, out: Path, members: Iterable[tuple[Member, int]], rows: Mapping[str, Row]
) -> list[dict[str, Any]]:
    """Copy the members' tunings to the folder; what ensemble.json says of them."""
    told = []
    for number, (member, weight) in enumerate(members, 1):
        source = of_run(study, rows[member.run], TUNING).open_checked(study)
        name = f"{number}-{re.sub(r'[^A-Za-z0-9]+', '-', member.label).strip('-')}.safetensors"
        shutil.copyfile(source, out / name)
        told.append(
            {"file": name, "sha256": hash_of(out / name), "weight": weight,
             "label": member.label, "seed": member.seed, "run": member.run}
        )  # fmt: skip
    return told


def _select(
    found: Predictions, select: str, k: int, seed: int | None
) -> tuple[Choice, list[Member], list[int]]:
    if select not in SELECTIONS:
        raise unknown_name("selection", select, SELECTIONS)
    runs = found.panel.runs
    if select == "seeds":
        label = found.order[0]
        if len(runs[label]) < 2:
            raise InputError(f"{label} has one final run; compare again with --seeds 2 or more")
        members = list(runs[label])
        choice = Choice(label, {label: len(members)}, "the winner on validation, all its seeds")
        return choice, members, [1] * len(members)
    by_name = {_kind(choice): choice for choice in choices(found, k)}
    if select not in by_name:
        why = {
            "best": f"needs validation figures and more than k={k} > 1 methods",
            "greedy": "needs the chosen trials' validation logits, which older studies lack",
        }[select]
        raise InputError(f"this study has no {select} ensemble: it {why}; take --select all")
    choice = by_name[select]
    shared = set.intersection(*({m.seed for m in runs[name]} for name in choice.weights))
    if not shared or (seed is not None and seed not in shared):
        raise InputError(
            f"seed {seed} is not among those that all members have: {sorted(shared)}"
            if shared
            else "the members share no seed; compare again with the same --seeds"
        )
    wanted = min(shared) if seed is None else seed
    members = [next(m for m in runs[name] if m.seed == wanted) for name in choice.weights]
    return choice, members, list(choice.weights.values())


def _kind(choice: Choice) -> str:
    return choice.name.split()[0]
