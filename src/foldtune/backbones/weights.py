"""Weights from a file, never by executing a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError
from torch import Tensor, nn

from foldtune.core.tensors import check_finite
from foldtune.errors import InputError

_UNREADABLE = (
    *(SafetensorError, OSError, RuntimeError, EOFError, AttributeError, KeyError),
    UnpicklingError,  # of torch, where timm does not wrap it
)
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors or .pth file, wrappers such as "model" taken off.

    Raises InputError for a missing, truncated or foreign file, and for one that needs code.
    """
    path = _existing(path)
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), weights_only=True)
    except _UNREADABLE as error:
        if isinstance(error, UnpicklingError) or "pickle" in str(error):  # timm 1.0.31 wraps it
            raise InputError(
                f"{path} is damaged or holds more than tensors, which would mean executing code "
                "from it; save its state dict as .safetensors"
            ) from error
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} is truncated or no checkpoint ({reason})") from error
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no flat state dict of tensors; save model.state_dict()")
    return state


def load_into(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load strictly. Raises InputError naming the first difference, or what is not finite."""
    mine = model.state_dict()
    for name in [*mine, *state]:
        here = tuple(mine[name].shape) if name in mine else "absent"
        there = tuple(state[name].shape) if name in state else "absent"
        if here != there:
            raise InputError(
                f"{path} does not fit {type(model).__name__}; the first difference is {name}: "
                f"{there} in the file, {here} in the model"
            )
    check_finite(state, f"{path} is damaged", "give other weights")
    model.load_state_dict(dict(state))


def load_npz(model: nn.Module, path: str | Path) -> None:
    """Load the original (JAX) ViT, Mixer or ResNetV2 archives through the host's own reader."""
    path = _existing(path)
    if not hasattr(model, "load_pretrained"):
        raise InputError(f"{type(model).__name__} has no reader for .npz; convert {path} first")
    try:
        model.load_pretrained(str(path))  # type: ignore[operator]
    except (KeyError, ValueError, OSError, AttributeError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"{path} does not fit {type(model).__name__} or is damaged ({error})"
        ) from error


def label(path: str | Path) -> str:
    """Name and content hash of a weights file, for identities."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
    return f"{Path(path).name} sha256:{digest}"


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} is none of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"no weights at {path}")
    return path
