"""What a file or folder of weights holds, told by its content, and never by executing a pickle."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from foldtune import gate
from foldtune.data.sources.arrays import refuse_folded, refuse_folded_whole
from foldtune.errors import InputError

# What trainers wrap a state dict in, the averaged and the taught first.
WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher", "target_encoder",
    "state_dict", "model_state_dict", "model", "net", "network", "encoder", "backbone", "module",
    "weights", "params", "student",
)  # fmt: skip
# What wrappers of modules put into names, at any depth.
_INSERTED = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")
# Where libraries keep the weights of a folder; an index names its shards.
_IN_FOLDERS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "pytorch_model.bin.index.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
)  # fmt: skip
# Plain data beside the tensors of a training checkpoint: rebuilt, no code of the file runs.
_INDEX = gate.fields({"weight_map": gate.mapping_of(gate.text(1000))})
_PLAIN: list[Any] = [
    argparse.Namespace, np.dtype, np.ndarray, type(np.dtype("float64")), type(np.dtype("float32")),
    type(np.dtype("int64")), np.array(0.0)[()].__reduce__()[0],
]  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """state: tensors by name. taken: the wrappers around them, outermost first."""

    state: dict[str, Tensor]
    taken: tuple[str, ...] = ()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The tensors in a safetensors file, a torch file of any suffix, an index of shards, or a
    folder with one of these.

    Raises InputError for a missing, truncated or foreign file, and for one that needs code.
    """
    place = locate_weights(path)
    if place.name.endswith(".index.json"):
        return _taken_out(_shards(place))
    kind = kind_of(place)
    if kind == "safetensors":
        return _taken_out(_safetensors(place))
    if kind == "npz":
        return Checkpoint(_npz(place))
    return _taken_out(_torch(place))


def locate_weights(path: str | Path) -> Path:
    """The file that `path` names, or the one that holds the weights of the folder it names."""
    place = Path(path)
    if place.is_dir():
        known = [place / name for name in _IN_FOLDERS if (place / name).is_file()]
        found = known or sorted(place.glob("*.safetensors"))
        if len(found) != 1 and not known:
            raise InputError(
                f"{place} holds {len(found)} files of weights, not one; name the file, or a folder "
                f"with one of {', '.join(_IN_FOLDERS[:4])}"
            )
        return found[0]
    if not place.is_file():
        raise InputError(f"no weights at {place}")
    return place


def kind_of(path: Path) -> str:
    """ "safetensors", "npz" or "torch", by the first bytes. InputError names what is none."""
    with path.open("rb") as file:
        start = file.read(64)
    if start[:2] == b"PK":
        refuse_folded_whole(path)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < max(2, path.stat().st_size):
        return "safetensors"
    if start[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile:
            return "torch"  # which says that it is truncated
        return "npz" if names and all(n.endswith(".npy") for n in names) else "torch"
    told = {
        b"version https://git-lfs": "a Git LFS pointer, not the weights; fetch them (git lfs pull)",
        b"<": "a web page, not weights; download the file itself",
        b"\x89HDF": "an HDF5 file (Keras); save its weights as .safetensors",
    }
    for mark, what in told.items():
        if start.lstrip().startswith(mark):
            raise InputError(f"{path} is {what}")
    return "torch"


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or no checkpoint ({_line(error)})") from error


def _npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                refuse_folded(path, name)
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises of zipfile, zlib, numpy or torch
        raise InputError(
            f"{path} is damaged, or holds more than numbers ({_line(error)}); copy it again"
        ) from error


def _torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_PLAIN):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise InputError(
            f"{path} is damaged or holds more than tensors, which would mean executing code from "
            "it; save its model.state_dict() as .safetensors"
        ) from error
    except Exception as error:  # bytes that are no pickle make its reader raise whatever there is
        raise InputError(f"{path} is truncated or no checkpoint ({_line(error)})") from error


def _shards(index: Path) -> dict[str, Any]:
    found = gate.check_value(gate.parse_file(index), _INDEX, f"{index} is no index of shards")
    files = sorted(set(found["weight_map"].values()))
    state: dict[str, Any] = {}
    for name in files:
        shard = index.parent / str(name)
        if Path(str(name)).name != name or not shard.is_file():
            raise InputError(f"{index} names the shard {name}, which is not beside it")
        state |= _safetensors(shard) if kind_of(shard) == "safetensors" else _torch(shard)
    return state


def _taken_out(found: Any) -> Checkpoint:
    """The innermost state dict, and through what it was reached."""
    taken: list[str] = []
    while isinstance(found, Mapping) and not _is_flat(found):
        name = next((n for n in WRAPPERS if _holds_tensors(found.get(n))), None)
        if name is None:
            break
        taken.append(name)
        found = found[name]
    state = found if isinstance(found, Mapping) else {}
    tensors = {_plain_name(str(n)): t for n, t in state.items() if isinstance(t, Tensor)}
    if not tensors:
        held = ", ".join(sorted(map(str, state))[:8]) or type(found).__name__
        raise InputError(
            f"the file holds no flat state dict of tensors (it holds {held}); save "
            "model.state_dict()"
        )
    return Checkpoint(tensors, tuple(taken))


def _is_flat(found: Mapping[Any, Any]) -> bool:
    """Whether most of its values are tensors: a state dict, maybe with a number of epochs."""
    return 2 * sum(isinstance(v, Tensor) for v in found.values()) > len(found)


def _holds_tensors(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return any(isinstance(v, Tensor) or _holds_tensors(v) for v in value.values())


def _plain_name(name: str) -> str:
    for inserted in _INSERTED:
        name = name.replace(inserted, "")
    return name


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
