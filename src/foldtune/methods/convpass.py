"""Convpass: a small convolution beside attention and MLP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.edits import Edit, Rewire
from foldtune.core.method import Method
from foldtune.core.sites import Site, select
from foldtune.errors import InputError
from foldtune.methods.bottleneck import Bottleneck
from foldtune.methods.refusal import NoPlace


class ConvBypass(Bottleneck):
    """y + s W_up Drop(q(conv(q(W_down x + b_down)))) + b_up, q(x) = x sigmoid(1.702 x).

    x, y: (B, N, channels), N a square of patches row by row, with or without one class token in
    front. conv: (rank, rank, 3, 3), zero padding, on the square; the class token is an image of
    its own of one pixel, which only the centre of the kernel sees.
    """

    def __init__(self, channels: int, rank: int, dropout: float, scale: float) -> None:
        super().__init__(channels, rank, dropout)
        self.conv = nn.Conv2d(rank, rank, 3, padding=1)
        assert self.conv.bias is not None
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        self.scale = scale

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        return self.joined(y, x, self.scale, False, False)

    def activation(self, low: Tensor) -> Tensor:
        return _quick_gelu(self._convolve(_quick_gelu(low)))

    def _convolve(self, low: Tensor) -> Tensor:
        tokens = low.shape[1]
        side = int(tokens**0.5)
        patches = side * side
        if tokens - patches not in (0, 1):
            raise InputError(
                f"Convpass finds no square of patches in {tokens} tokens: it needs a square image, "
                "one class token at most, and no register or prompt tokens"
            )
        grid = low[:, tokens - patches :].transpose(1, 2).unflatten(2, (side, side))
        made = self.conv(grid).flatten(2).transpose(1, 2)
        if tokens == patches:
            return made
        seen = F.linear(low[:, :1], self.conv.weight[:, :, 1, 1], self.conv.bias)
        return torch.cat([seen, made], 1)


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
    the sum of branch and bypass. Needs a square of patches with one class token at most.
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
        return [
            Rewire(s, ConvBypass(s.channels, self.rank, self.dropout, self.scale))
            for s in select(sites, "attn", "mlp")
        ]


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
    # 4 x 9 patches would pass for 6 x 6 by their number.
    height, width = getattr(getattr(model, "patch_embed", None), "grid_size", None) or (1, 1)
    return None if height == width else f"{height} x {width} patches are no square"
