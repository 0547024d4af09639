"""What the dry run of an attachment found out, kept for the next one."""

from __future__ import annotations

from dataclasses import dataclass

from foldtune.core.structure.sites import Site


@dataclass(frozen=True)
class Shown:
    """What an attachment showed of its method on its model, which holds for the next one of both.

    unused: names of base tensors that no pass uses. plainly: whether gradients may not rest on what
    layers returned. readings: paths of the modules that read computed tensors, and of these.
    """

    sites: tuple[Site, ...]
    unused: tuple[str, ...]
    plainly: bool
    readings: tuple[tuple[str, str], ...]
