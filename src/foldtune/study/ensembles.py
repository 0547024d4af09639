"""A saved ensemble: a folder of tunings over one backbone, and how they vote.

    OUT/ensemble.json          rule, members with weights and SHA-256, what chose them
    OUT/<n>-<label>.safetensors  the tunings, as `fit` and `compare` write them

It predicts by attaching one tuning after the other to one backbone: as many forward passes an
image as there are members.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune import gate
from foldtune.analysis.ensemble import RULES, Choice, combine
from foldtune.analysis.panel import Member
from foldtune.analysis.row import Row
from foldtune.backbones import Backbone, load
from foldtune.backbones.prepare import prepare_for
from foldtune.backbones.tuning import backbone_of, refuse_hub
from foldtune.data import ImageData
from foldtune.errors import InputError, unknown_name
from foldtune.files import digest, filling, hash_of, refuse_full
from foldtune.judging.predict import finite, predict_logits
from foldtune.study.results.analyses import choices
from foldtune.study.results.artefacts import TUNING, of_run, warn_of_unbound
from foldtune.study.results.predictions import Predictions, read_predictions
from foldtune.study.results.rowfile import replace
from foldtune.tasks.kinds import SingleLabel
from foldtune.tunings.imagefiles import fit_of, name_classes
from foldtune.tunings.judging import Chosen, Known
from foldtune.tunings.predict import predict_files
from foldtune.tunings.tuning import (
    header_of,
    home_target,
    judge,
)

ENSEMBLE = "ensemble.json"
_FORMAT = 2  # with a checksum; 1, without, is read
_MEMBER = gate.fields(
    {"file": gate.text(1000), "sha256": gate.text(64), "weight": gate.integer(1, 10**6)}
)
_DESCRIBED = gate.fields(
    {"format": gate.integer(1, _FORMAT), "rule": gate.text(100), "members": gate.list_of(_MEMBER)}
)
_TOGETHER = 512  # images; of so many each member is attached once
SELECTIONS = ("all", "best", "greedy", "seeds")


@dataclass(frozen=True)
class Ensemble:
    """rule: how members are combined; tunings: their files; weights: how often each counts;
    header: the first tuning's; sealed: what describes it was seen to be as it was written."""

    rule: str
    tunings: tuple[Path, ...]
    weights: tuple[int, ...]
    header: dict[str, Any]
    sealed: bool = True


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
        "format": _FORMAT,
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
        sealed = {**told, "checksum": _checksum(told)}
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


def is_ensemble(path: Path) -> bool:
    return path.suffix == ".json" or (path / ENSEMBLE).is_file()


def open_ensemble(path: Path) -> Ensemble:
    """Read and check: every tuning is there, unchanged, over one backbone and one list of classes.

    Raises InputError naming the first that is not.
    """
    described = path / ENSEMBLE if path.is_dir() else path
    if not described.is_file():
        raise InputError(f"{described} is missing, so this is no ensemble; save it again")
    told = gate.check_value(gate.parse_file(described), _DESCRIBED, f"{described} is no ensemble")
    checksum = told.pop("checksum", None)
    if told["format"] == _FORMAT and checksum != _checksum(told):
        raise InputError(f"{described} is not as it was written: it was altered or damaged")
    rule = told["rule"]
    files = [(described.parent / m["file"], m["sha256"], m["weight"]) for m in told["members"]]
    if rule not in RULES or not files:
        raise InputError(f"{described} has a rule that this foldtune does not know, or no member")
    headers = []
    for file, wanted, _ in files:
        # A name that leaves the folder is no member of it.
        outside = file.parent != described.parent or "\0" in file.name
        if outside or not file.is_file() or hash_of(file) != wanted:
            raise InputError(f"{file} is missing or not the tuning that {described} names")
        headers.append(header_of(file))
    for header, (file, _, _) in zip(headers, files, strict=True):
        for key in ("base_hash", "classes"):
            if header[key] != headers[0][key]:
                noun = "backbone" if key == "base_hash" else "list of classes"
                raise InputError(f"{file} has another {noun} than {files[0][0]}; no ensemble")
    tunings, weights = tuple(f for f, _, _ in files), tuple(w for _, _, w in files)
    return Ensemble(rule, tunings, weights, headers[0], told["format"] == _FORMAT)


def ensemble_probabilities(
    ensemble: Ensemble, backbone: Backbone, pixels: np.ndarray, rows: np.ndarray
) -> Tensor:
    """(rows, classes) by the ensemble's rule; for votes the shares, with the part that decides
    ties. The backbone is plain again after."""
    members = []
    for number, tuning in enumerate(ensemble.tunings):
        attachment = load(tuning, backbone)
        try:
            logits = predict_logits(attachment.model, pixels, rows, prepare_for(backbone))
        finally:
            attachment.detach()
        members.append(Member(tuning.stem, number, finite(logits, tuning).numpy()))
    scores = torch.from_numpy(combine(members, ensemble.rule, ensemble.weights))
    return scores.softmax(1) if ensemble.rule == "logits" else scores / scores.sum(1, keepdim=True)


def predict_with_ensemble(
    path: Path,
    images: Sequence[Path],
    weights: Path | None = None,
    allowed: Callable[[str], bool] = refuse_hub,
) -> Iterator[dict[str, Any]]:
    """As `predict_images`, by an ensemble. weights: the backbone's file, where it needs one;
    allowed: see `backbone_of`."""
    ensemble = open_ensemble(path)
    backbone = backbone_of(ensemble.header, weights, allowed)
    yield from predict_files(
        images, fit_of(backbone, ensemble.header.get("data")),
        partial(ensemble_probabilities, ensemble, backbone),
        lambda paths, shares: name_classes(paths, shares, ensemble.header["classes"]),
        together=_TOGETHER,
    )  # fmt: skip


def evaluate_ensemble(
    ensemble: Ensemble,
    backbone: Backbone,
    data: ImageData,
    chosen: Chosen,
    mapping: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """As `evaluate_tuning`; calibration is that of the ensemble's probabilities."""
    classes = ensemble.header["classes"]
    target = home_target(data, classes, chosen, mapping)
    shares = ensemble_probabilities(ensemble, backbone, data.pixels, target.rows)
    return judge(shares.clamp_min(1e-12).log(), target, chosen, classes)


def known_of(ensemble: Ensemble) -> Known:
    """What the members together know of images."""
    return Known.of(ensemble.tunings, [header_of(path) for path in ensemble.tunings])


# -- private ---------------------------------------------------------------------------------------


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


def _checksum(told: Mapping[str, Any]) -> str:
    return digest([json.dumps(told, sort_keys=True)])
