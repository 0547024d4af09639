"""Published weights: from the cache where they are there, and no waiting for a hub out of reach."""

from __future__ import annotations

import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from foldtune.errors import InputError

_SECONDS = 5.0  # for the hub to take a connection

Built = TypeVar("Built")


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
