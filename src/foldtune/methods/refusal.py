"""The refusal of a method that has no place in a host; no method itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from foldtune.core.structure.sites import Site
from foldtune.errors import InputError, some
from foldtune.methods.catalogue import catalogue

# The names that most people look for stand first in a list that is cut.
_KNOWN = ("LoRA", "SSF", "BitFit", "LayerNorm", "AdaptFormer", "Full")
_ALL = "foldtune methods --suggest --model MODEL"


class NoPlace(InputError):
    """`reason`, and which methods of the catalogue do find their places in this very host.

    The others are asked only when the message is read: asking them on raising would have each of
    them ask all others in turn.
    """

    def __init__(self, reason: str, model: nn.Module, sites: Sequence[Site]) -> None:
        super().__init__(reason)
        self._host = (model, sites)

    def __str__(self) -> str:
        found = able(*self._host)
        first = [name for name in _KNOWN if name in found]
        names = [*first, *(name for name in found if name not in first)]
        return f"{self.args[0]}. Methods that can: {some(names, _ALL)}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Across processes goes the text; the host may be large.
        return InputError, (str(self),)


def able(model: nn.Module, sites: Sequence[Site]) -> list[str]:
    """Names of the methods that find their places in `model` with their default settings."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for name, method in catalogue().items():
            try:
                method().check_places(model, sites)
            except InputError:
                continue
            found.append(name)
    return found
