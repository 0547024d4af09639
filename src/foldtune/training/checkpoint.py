"""Checkpoints: what training has changed, in one safetensors file, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from foldtune.core.tensorfile import write_tensors
from foldtune.errors import InputError
from foldtune.training.batches import Data
from foldtune.training.curve import Entry
from foldtune.training.optim.average import Average, live_tensors
from foldtune.training.recipe import Recipe, recipe_values

_KEY = "foldtune.checkpoint"  # the metadata entry that holds the header, a JSON object
_CHECKSUM = "foldtune.checksum"
_SAMPLED_IMAGES = 64
_log = logging.getLogger(__name__)


class _Corrupt(Exception):
    """The file is damaged, as a disk or a kill may leave it."""


@dataclass(frozen=True)
class Training:
    """The live objects that a checkpoint is taken of and put back into.

    optimizer: torch's own, built from named parameters. scaler: fp16's gradient scaler or None.
    identity: what a resumed run must share, JSON values, see `identity_of`. average: the weights'
    moving average, where the recipe asks for one.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: Any
    identity: dict[str, Any]
    average: Average | None = None


class Pace:
    """Says after which epochs a checkpoint is due: every so many, and after the last.

    With seconds > 0 it is due once so many have passed since the last one or since the start, so
    that a kill costs these and an epoch at most; and never after the last epoch, since then comes
    the result itself. Short runs write none. Raises InputError for what is no pace.
    """

    def __init__(self, epochs: int, every: int = 1, seconds: float = 0.0) -> None:
        if every < 1:
            raise InputError(f"checkpoint_every={every} is not allowed; at least 1")
        if not seconds >= 0:
            raise InputError(f"checkpoint_seconds={seconds} is not allowed; 0 or more")
        self._epochs, self._every, self._seconds = epochs, every, seconds
        self.restart()

    def due(self, epoch: int) -> bool:
        """Whether one is due after this epoch, from 1."""
        if self._seconds > 0:
            return epoch < self._epochs and time.monotonic() - self._last >= self._seconds
        return epoch % self._every == 0 or epoch == self._epochs

    def restart(self) -> None:
        """Count the seconds from now."""
        self._last = time.monotonic()


def identity_of(model: nn.Module, data: Data, recipe: Recipe, seed: int) -> dict[str, Any]:
    """What makes two runs the same run, as JSON values.

    Of the pixels only the shape and 64 of the training images are hashed: reading 50,000 images
    takes longer than an epoch may. Frozen weights and `prepare` are the caller's to keep.
    """
    indices, pixels = data.indices, data.pixels
    digest = hashlib.sha256(repr((pixels.shape, len(indices))).encode())
    spread = np.linspace(0, len(indices) - 1, min(_SAMPLED_IMAGES, len(indices))).astype(np.int64)
    whole = data.labels.dtype.kind in "iu"
    labels = data.labels[indices].astype("<i8" if whole else "<f4")
    for array in (indices.astype("<i8"), labels, pixels[indices[spread]]):
        digest.update(np.ascontiguousarray(array).tobytes())
    shapes = [(name, tuple(t.shape), str(t.dtype)) for name, t in live_tensors(model).items()]
    values = {
        "recipe": recipe_values(recipe),
        "seed": seed,
        "data": digest.hexdigest(),
        "tensors": hashlib.sha256(repr(sorted(shapes)).encode()).hexdigest(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def write_checkpoint(path: Path, training: Training, curve: list[Entry], seconds: float) -> None:
    """Write the run's state after the epochs of `curve`, replacing the file in one step.

    Raises InputError where it cannot be written (no space left); the last one stays.
    """
    tensors = _stored_tensors(training)
    scalars: dict[str, dict[str, Any]] = {}
    for name, state in _optimizer_state(training.optimizer).items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = value
            else:
                scalars.setdefault(name, {})[key] = value
    stored = {key: t.detach().cpu().contiguous().clone() for key, t in tensors.items()}
    header = {
        "identity": training.identity,
        "curve": curve,
        "seconds": seconds,
        "scalars": scalars,
        "scaler": training.scaler.state_dict() if training.scaler else None,
    }
    text = json.dumps(header)
    metadata = {_KEY: text, _CHECKSUM: _checksum(text, stored)}
    write_tensors(stored, path, metadata)


def read_checkpoint(path: Path, training: Training) -> tuple[list[Entry], float] | None:
    """Put a checkpoint back; return the curve so far and its seconds, None where there is none.

    A damaged file is renamed to `*.corrupt` with a logged warning, and the answer is None. Raises
    InputError where the file is whole but of another run, or no checkpoint at all. Nothing is
    changed unless everything fits.
    """
    if not path.exists():
        return None
    try:
        header, tensors = _read(path)
    except (_Corrupt, SafetensorError) as error:
        aside = path.with_name(path.name + ".corrupt")
        path.replace(aside)
        _log.warning(
            "checkpoint %s is damaged (%s): set aside as %s, training starts from the beginning",
            path, error, aside.name,
        )  # fmt: skip
        return None
    _check_identity(path, header["identity"], training.identity)
    state: dict[str, dict[str, Any]] = {n: dict(s) for n, s in header["scalars"].items()}
    with torch.no_grad():
        for key, live in _stored_tensors(training).items():
            live.copy_(tensors.pop(key))
    for key, tensor in tensors.items():
        name, _, entry = key.removeprefix("optimizer/").rpartition("/")
        state.setdefault(name, {})[entry] = tensor
    _load_optimizer(training.optimizer, state)
    if training.scaler:
        training.scaler.load_state_dict(header["scaler"])
    return header["curve"], header["seconds"]


def _stored_tensors(training: Training) -> dict[str, Tensor]:
    """The model's and the average's tensors, by the keys of the file."""
    averaged = training.average.tensors if training.average else {}
    return live_tensors(training.model) | {f"average/{n}": t for n, t in averaged.items()}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a whole checkpoint."""
    if path.is_dir():
        raise InputError(f"checkpoint {path} is a folder; a file is needed")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if _KEY not in metadata:
            raise InputError(f"{path} is no training checkpoint; name another file for it")
        # Cloned, because the file's own tensors are views into its mapped pages.
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    if _checksum(metadata[_KEY], tensors) != metadata.get(_CHECKSUM):
        raise _Corrupt("its checksum does not match")
    return json.loads(metadata[_KEY]), tensors


def _check_identity(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another run, naming the first difference."""
    what = {"data": "other training data", "tensors": "other trainable tensors"}
    for name, value in wanted["recipe"].items():
        if stored["recipe"].get(name) != value:
            difference = f"{name}={stored['recipe'].get(name)!r}, not {value!r}"
            break
    else:
        if stored == wanted:
            return
        key = next(key for key in wanted if stored.get(key) != wanted[key])
        difference = what.get(key, f"{key}={stored.get(key)!r}, not {wanted[key]!r}")
    raise InputError(
        f"checkpoint {path} is of another run: it has {difference}; "
        "remove it to start again, or name another file"
    )


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """The optimizer's state by parameter name."""
    packed = optimizer.state_dict()
    names = [name for group in packed["param_groups"] for name in group["param_names"]]
    return {names[index]: state for index, state in packed["state"].items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, dict[str, Any]]) -> None:
    packed = optimizer.state_dict()
    names = [name for group in packed["param_groups"] for name in group["param_names"]]
    packed["state"] = {i: state[name] for i, name in enumerate(names) if name in state}
    optimizer.load_state_dict(packed)


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 over header, names and bytes: a flipped bit in a weight would show nowhere else."""
    value = zlib.crc32(text.encode())
    for key in sorted(tensors):
        value = zlib.crc32(key.encode(), value)
        value = zlib.crc32(tensors[key].reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"
