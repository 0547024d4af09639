"""Convpass: a small convolution beside attention and MLP."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.edits import Edit, Rewire
from foldtune.core.method import Method
from foldtune.core.structure.roles import is_conv
from foldtune.core.structure.sites import Site, select
from foldtune.errors import InputError
from foldtune.methods.bottleneck import Bottleneck
from foldtune.methods.refusal import NoPlace


class Grid:
    """Which adapters share the patches of one model; last: the (height, width) last seen."""

    last: tuple[int, int] | None = None


class _Grids(threading.local):
    """The (height, width) of the patches that run through models in this thread.

    Not on the adapter: two threads may serve one model, each with images of its own size.
    """

    seen: tuple[tuple[Grid, tuple[int, int]], ...] = ()


_grids = _Grids()


class ConvBypass(Bottleneck):
    """y + s W_up Drop(q(conv(q(W_down x + b_down)))) + b_up, q(x) = x sigmoid(1.702 x).

    x, y: (B, N, channels), N the patches that the patch embedding gave in this very pass, row by
    row, with or without one class token in front. conv: (rank, rank, 3, 3), zero padding, on their
    grid; the class token is an image of its own of one pixel, which only the centre of the kernel
    sees. is_last: in a pass, after which the grid is forgotten.
    """

    sees_output = True

    def __init__(
        self, channels: int, rank: int, dropout: float, scale: float, grid: Grid, is_last: bool
    ) -> None:
        super().__init__(channels, rank, dropout)
        self.conv = nn.Conv2d(rank, rank, 3, padding=1)
        assert self.conv.bias is not None
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        self.scale = scale
        self.grid = grid
        self.is_last = is_last

    def on_source_output(self, _module: nn.Module, _args: Any, output: Tensor) -> None:
        self.grid.last = output.shape[-2], output.shape[-1]
        _grids.seen = (*self._others(), (self.grid, self.grid.last))

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.add_update(y, x, self.scale, False, False)
        if self.is_last:
            _grids.seen = self._others()
        return y

    def activation(self, low: Tensor) -> Tensor:
        return _quick_gelu(self._convolve(_quick_gelu(low)))

    def _others(self) -> tuple[tuple[Grid, tuple[int, int]], ...]:
        return tuple(entry for entry in _grids.seen if entry[0] is not self.grid)

    def _convolve(self, low: Tensor) -> Tensor:
        # A checkpoint calls a block again when the pass is over, and on a GPU in another thread.
        sides = self.grid.last
        for grid, at in _grids.seen:
            sides = at if grid is self.grid else sides
        if sides is None:
            raise InputError("Convpass saw no convolution make patches in this pass")
        (rows, columns), tokens = sides, low.shape[1]
        if tokens - rows * columns not in (0, 1):
            raise InputError(
                f"Convpass was given {tokens} tokens for {rows} x {columns} patches: it takes one "
                "class token at most, no register or prompt tokens, and no dropped patches"
            )
        if tokens == rows * columns:
            return self._on_grid(low, sides)
        seen = F.linear(low[:, :1], self.conv.weight[:, :, 1, 1], self.conv.bias)
        return torch.cat([seen, self._on_grid(low[:, 1:], sides)], 1)

    def _on_grid(self, patches: Tensor, sides: tuple[int, int]) -> Tensor:
        grid = patches.transpose(1, 2).unflatten(2, sides)
        return self.conv(grid).flatten(2).transpose(1, 2)


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


@dataclass(frozen=True, repr=False)
class Convpass(Method):
    """A 3x3 convolution in a bottleneck beside attention and MLP: y <- y + s CP(LN x).

    CP(h) = W_up q(conv(q(W_down h + b_down))) + b_up with q the quick GELU; h: the branch's own
    input, (B, N, D). down: (rank, D) Xavier-uniform; conv: (rank, rank, 3, 3) the identity kernel;
    up: (D, rank) and all biases zero, so it starts as the identity. The class token passes the same
    convolution as an image of one pixel. 2 L (2 D rank + 2 rank + D + 9 rank^2) parameters (rank 8
    on ViT-B/16: 327,552). Dropout acts in front of up. Not mergeable. Source: Jie and Deng, 2022
    (Convolutional Bypasses Are Better Vision Transformer Adapters). When to use it: few images with
    local structure. Differs from the paper: layer scale and drop path of the host act once, on
    the sum of branch and bypass. Needs patches that a convolution makes, rows and columns of any
    number, with one class token at most.
    """

    rank: int = 8
    scale: float = 1.0
    dropout: float = 0.1

    space: ClassVar = {**Method.space, "scale": (0.01, 0.1, 1.0, 10.0, 100.0)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        reason = _obstacle(model, sites)
        if reason:
            host = type(model).__name__
            raise NoPlace(f"Convpass cannot be attached to {host}: {reason}", model, sites)
        edits = []
        for source, places in _by_source(model, sites):
            grid = Grid()
            for site in places:
                adapter = ConvBypass(
                    site.channels, self.rank, self.dropout, self.scale, grid, site is places[-1]
                )
                edits.append(Rewire(site, adapter, source if site is places[0] else None))
        return edits


def _by_source(model: nn.Module, sites: Sequence[Site]) -> list[tuple[Site, list[Site]]]:
    """Each convolution that makes patches, with the branches behind it, in order of the pass."""
    found: list[tuple[Site, list[Site]]] = []
    source: Site | None = None
    for site in sites:
        if site.role in ("stem", "downsample") and is_conv(model.get_submodule(site.path)):
            source = site
        elif site.role in ("attn", "mlp") and source is not None:
            if not found or found[-1][0] is not source:
                found.append((source, []))
            found[-1][1].append(site)
    return found


def _obstacle(model: nn.Module, sites: Sequence[Site]) -> str | None:
    if not select(sites, "attn", "mlp"):
        return "no attention and no MLP of it is called as one module"
    odd = next((s for s in select(sites, "block") if s.layout != "tokens"), None)
    if odd is not None:
        return f"{odd.path} gives no rows of tokens; a window or a map has no class token to bypass"
    if any(s.layout == "turned" for s in sites):
        return "its token mixer gives (batch, channels, tokens)"
    if any(s.layout == "windows" for s in sites):
        return "its attention is given windows, not images"
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    if prefix > 1:
        return f"{prefix} tokens stand before the patches, and only one may (no register tokens)"
    branches = [site for _, behind in _by_source(model, sites) for site in behind]
    if len(branches) < len(select(sites, "attn", "mlp")):
        return "no convolution makes its patches"
    return None
