"""A saved ensemble: a folder of tunings over one backbone, and how they vote.

    OUT/ensemble.json          rule, members with weights and SHA-256, what chose them
    OUT/<n>-<label>.safetensors  the tunings, as `fit` and `compare` write them

It predicts by attaching one tuning after the other to one backbone: as many forward passes an
image as there are members.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune import gate
from foldtune.analysis.ensemble import RULES, combine
from foldtune.analysis.panel import Member
from foldtune.backbones import Backbone, load
from foldtune.backbones.prepare import prepare_for
from foldtune.backbones.tuning import backbone_of, refuse_hub
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.files import digest, hash_of
from foldtune.judging.predict import finite, predict_logits
from foldtune.tunings.imagefiles import fit_of, name_classes
from foldtune.tunings.judging import Chosen, Known
from foldtune.tunings.predict import predict_files
from foldtune.tunings.tuning import header_of, home_target, judge

ENSEMBLE = "ensemble.json"
FORMAT = 2  # with a checksum; 1, without, is read
_MEMBER = gate.fields(
    {"file": gate.text(1000), "sha256": gate.text(64), "weight": gate.integer(1, 10**6)}
)
_DESCRIBED = gate.fields(
    {"format": gate.integer(1, FORMAT), "rule": gate.text(100), "members": gate.list_of(_MEMBER)}
)
_TOGETHER = 512  # images; of so many each member is attached once


@dataclass(frozen=True)
class Ensemble:
    """rule: how members are combined; tunings: their files; weights: how often each counts;
    header: the first tuning's; sealed: what describes it was seen to be as it was written."""

    rule: str
    tunings: tuple[Path, ...]
    weights: tuple[int, ...]
    header: dict[str, Any]
    sealed: bool = True


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
    if told["format"] == FORMAT and checksum != checksum_of(told):
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
    return Ensemble(rule, tunings, weights, headers[0], told["format"] == FORMAT)


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


def checksum_of(told: Mapping[str, Any]) -> str:
    """The hash of what describes an ensemble, in any order."""
    return digest([json.dumps(told, sort_keys=True)])
