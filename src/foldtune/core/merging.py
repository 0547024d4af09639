"""Folding a method into the stored tensors; what none can absorb stays beside them, if small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from foldtune.core.computed import folded_in_double
from foldtune.core.edits import Adapter, Rewire
from foldtune.core.sites import Site
from foldtune.errors import InputError

if TYPE_CHECKING:
    from foldtune.core.attachment import Attachment

# Where a merged model keeps an adapter that survives merging, if it has one.
RETAINED = "foldtune_retained"


class Merging:
    """The merge of one attachment, whose own modules are in `container`."""

    def __init__(self, attachment: Attachment, container: nn.Module) -> None:
        self._attachment, self._container = attachment, container

    @property
    def obstacle(self) -> Rewire | None:
        """The first edit that no stored tensor can absorb and that does not stay either."""
        return next((e for e in self._rewired() if not e.adapter.survives_merge), None)

    @property
    def retained(self) -> tuple[str, ...]:
        """Names, in the merged model, of the tensors of adapters that stay."""
        return tuple(
            f"{RETAINED}.{name}.{n}"
            for name, adapter in self._surviving().items()
            for n, _ in adapter.named_parameters()
        )

    def fold(self, computed: Iterable[tuple[nn.Module, Site]]) -> None:
        """Write the computed tensors over the stored ones, and move what stays into the model.

        Raises InputError, with nothing changed, where there is an obstacle.
        """
        if (first := self.obstacle) is not None:
            raise InputError(
                f"{self._attachment.method!r} cannot be merged: {type(first.adapter).__name__} at "
                f"{first.site.path} is a side network that no stored tensor can absorb. Save it as "
                "a tuning, or use a method that merges (SSF, LoRA, BitFit, LayerNorm, Full)"
            )
        for module, site in computed:
            _write(module, site)
        self._retain()

    def _rewired(self) -> Iterable[Rewire]:
        return (e for e in self._attachment.edits if isinstance(e, Rewire))

    def _surviving(self) -> dict[str, Adapter]:
        names = {m: n for n, m in self._container.named_children()}
        adapters = [e.adapter for e in self._rewired()]
        return {names[a]: a for a in adapters if a.survives_merge}

    def _retain(self) -> None:
        """Move adapters and their hooks out of the attachment's reach, into the model."""
        model, adapters = self._attachment.model, self._surviving()
        if adapters and not hasattr(model, RETAINED):
            model.add_module(RETAINED, nn.Module())
        for name, adapter in adapters.items():
            model.get_submodule(RETAINED).add_module(name, adapter)
            self._attachment.handles.pop(adapter)


@torch.no_grad()
def _write(module: nn.Module, site: Site) -> None:
    assert site.weight is not None
    weight, bias = folded_in_double(module, site.weight, site.bias)
    module._parameters[site.weight].copy_(weight)  # type: ignore[union-attr]
    if bias is None or site.bias is None:
        return
    old = module._parameters[site.bias]
    if old is None:
        module._parameters[site.bias] = nn.Parameter(bias)
    else:
        old.copy_(bias)
