"""Weights from a file, never by executing a pickle; published ones without waiting for a hub."""

from __future__ import annotations

import hashlib
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from foldtune.backbones.checkpoint import Checkpoint, kind_of, locate_weights, read_checkpoint
from foldtune.backbones.fitting import Fitted, fit_to, tell
from foldtune.errors import InputError

_SECONDS = 5.0  # for the hub to take a connection

Built = TypeVar("Built")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file or folder, wrappers such as "model" taken off.

    Raises InputError for a missing, truncated or foreign file, and for one that needs code.
    """
    return read_checkpoint(path).state


def fit_from_file(model: nn.Module, path: str | Path, head: Sequence[str] = ()) -> Fitted:
    """What the file holds for `model`, see `fit_to`; what was done to it is logged."""
    found = fit_to(model, read_checkpoint(path), path, head)
    tell(found, path)
    return found


def load_into(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load strictly but for what `fit_to` mends. Raises InputError naming the first difference."""
    found = fit_to(model, Checkpoint(dict(state)), path)
    tell(found, path)
    model.load_state_dict(found.state)


def is_npz(path: str | Path) -> bool:
    """Whether the file is an archive of NumPy arrays."""
    return kind_of(locate_weights(path)) == "npz"


def npz_classes(path: str | Path) -> int:
    """The number of classes of the classifier in an original (JAX) archive; 0 where it has none."""
    state = read_checkpoint(path).state
    rows = [t for n, t in state.items() if n.split("/")[-2:] == ["head", "bias"]]
    return int(rows[0].shape[0]) if rows else 0


def load_npz(model: nn.Module, path: str | Path) -> None:
    """Load the original (JAX) ViT, Mixer or ResNetV2 archives through the host's own reader."""
    place = locate_weights(path)
    if not hasattr(model, "load_pretrained"):
        raise InputError(f"{type(model).__name__} has no reader for .npz; convert {path} first")
    try:
        model.load_pretrained(str(place))  # type: ignore[operator]
    except (KeyError, ValueError, OSError, AttributeError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"{path} does not fit {type(model).__name__} or is damaged ({error})"
        ) from error


def label(path: str | Path) -> str:
    """Name and content hash of a weights file, for identities; of a folder or an index of shards
    that of all its weights."""
    place = locate_weights(path)
    shards = sorted(place.parent.glob("*.safetensors")) if place.name.endswith(".json") else []
    digest = hashlib.sha256()
    for file in [place, *shards]:
        digest.update(file.read_bytes())
    return f"{Path(path).name} sha256:{digest.hexdigest()[:12]}"


def through_hub(name: str, build: Callable[[], Built]) -> Built:
    """What `build` makes with what is in the cache, and with the hub where that is not enough.

    Raises InputError, at once and with the cure, where it needs the hub and that cannot be reached.
    """
    try:
        with _offline():
            return build()
    except InputError:
        raise
    except Exception as error:  # the hub's clients raise many kinds, none of which the user made
        if not _needs_hub(error):
            raise
        if not _reachable():
            raise InputError(
                f"the published weights of {name} are not in the cache, and the hub cannot be "
                "reached; connect once, give a file with --weights, or train from random ones with "
                "--no-pretrained"
            ) from error
    return build()


def as_a_file_says(name: str, build: Callable[[], Built], allowed: Callable[[str], bool]) -> Built:
    """What `build` makes of a name that a file gave, perhaps a stranger's. The hub is contacted
    only where what is in the cache is not enough and `allowed` says so of the name.

    Raises InputError, with the cure, where it does not.
    """
    try:
        with _offline():
            return build()
    except Exception as error:  # as above
        if not _needs_hub(error):
            raise
        if not allowed(name):
            raise InputError(
                f"the file names {name}, which is not in the cache, and a file does not decide "
                "whom this machine contacts: --allow-hub (allow_hub=True) fetches it from the hub"
            ) from None
    return build()


@contextmanager
def _offline() -> Iterator[None]:
    """The hub's client reads its cache alone inside."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _needs_hub(error: BaseException) -> bool:
    """Whether the error, or what it came from, is the hub client's for a file it may not fetch."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__module__.startswith("huggingface_hub") or "offline" in str(seen).lower():
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _reachable() -> bool:
    """Whether the hub takes a connection; True where the user's settings or a proxy decide."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "") in ("1", "ON", "YES"):
        return False
    place = urllib.parse.urlsplit(constants.ENDPOINT)
    if place.scheme in urllib.request.getproxies():
        return True
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        with socket.create_connection((place.hostname or "", port), _SECONDS):
            return True
    except OSError:
        return False
