"""The bottleneck that the adapter methods share; no method itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.lowrank import add_product
from foldtune.core.edits import Adapter


class Bottleneck(Adapter):
    """A(h) = W_up Drop(act(W_down h + b_down)) + b_up, per position.

    down: (rank, channels), Xavier-uniform; up: (channels, rank). Everything else starts at zero,
    so A starts at zero.
    """

    def __init__(self, channels: int, rank: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(channels, rank)
        self.up = nn.Linear(rank, channels)
        nn.init.xavier_uniform_(self.down.weight)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        self.dropout = dropout

    def activation(self, low: Tensor) -> Tensor:
        """What is computed between down and up, (..., rank)."""
        return F.relu(low)

    def update(self, h: Tensor, maps: bool) -> Tensor:
        """A(h) with the channels in the last axis; maps: h has them in axis 1."""
        return self.up(self._activate(h, maps))

    def add_update(
        self, y: Tensor, h: Tensor, scale: float, y_is_map: bool, h_is_map: bool
    ) -> Tensor:
        """y + scale A(h), where h has as many positions as y; a map has its channels in axis 1."""
        if y_is_map:
            return torch.add(y, self.update(h, h_is_map).permute(0, 3, 1, 2), alpha=scale)
        return add_product(y, self._activate(h, h_is_map), self.up.weight, self.up.bias, scale)

    def _activate(self, h: Tensor, maps: bool) -> Tensor:
        rows = h.permute(0, 2, 3, 1) if maps else h
        return F.dropout(self.activation(self.down(rows)), self.dropout, self.training)


class Sequential(Bottleneck):
    """z + s A(z) behind a branch of a block.

    It stands inside the branch, before the host's layer scale and drop path, which so act once on
    the sum.
    """

    def __init__(self, channels: int, rank: int, dropout: float, scale: float, layout: str) -> None:
        super().__init__(channels, rank, dropout)
        self.scale = scale
        self.maps = layout == "maps"

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        return self.add_update(y, y, self.scale, self.maps, self.maps)
