"""Conv-Adapter: a depth-wise separable bottleneck beside every spatial convolution."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.edits import Adapter, Edit, Rewire
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.sites import Site, select
from foldtune.methods.refusal import NoPlace


class ConvBottleneck(Adapter):
    """y + a * W_up ReLU(W_down x + b_down), beside one convolution.

    x: (B, in, H, W), y: (B, out, H', W'). down: (hidden, in / groups, k, k), which goes as the
    host's convolution does, with hidden = in / reduction and as many groups; up: (out, hidden),
    zero; a: (out,), ones.
    """

    def __init__(self, host: nn.Conv2d, reduction: int) -> None:
        super().__init__()
        hidden = max(1, host.in_channels // reduction)
        groups = math.gcd(hidden, host.in_channels)
        shape = (hidden, host.in_channels // groups, *host.kernel_size)
        self.down = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5)))
        self.down_bias = nn.Parameter(torch.zeros(hidden))
        self.up = nn.Parameter(torch.zeros(host.out_channels, hidden))
        self.scale = nn.Parameter(torch.ones(host.out_channels))
        self.groups = groups
        self.stride, self.dilation = host.stride, host.dilation
        self.padding = host.padding if isinstance(host.padding, tuple) else None

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        padded = F.pad(x, [n for axis in (1, 0) for n in self._around(x, y, axis)])
        low = F.conv2d(
            padded, self.down, self.down_bias, self.stride, 0, self.dilation, self.groups
        )
        return y + F.conv2d(F.relu(low), (self.scale[:, None] * self.up)[..., None, None])

    def _around(self, x: Tensor, y: Tensor, axis: int) -> tuple[int, int]:
        """Zeros before and behind, so that there are as many positions as the host gives."""
        reach = self.dilation[axis] * (self.down.shape[2 + axis] - 1) + 1
        needed = (y.shape[2 + axis] - 1) * self.stride[axis] + reach - x.shape[2 + axis]
        # timm's Conv2dSame pads by itself, as TensorFlow does: half in front, rounded down.
        own = self.padding is not None and 2 * self.padding[axis] >= needed
        before = self.padding[axis] if self.padding is not None and own else max(0, needed) // 2
        return before, needed - before


@dataclass(frozen=True, repr=False)
class ConvAdapter(Method):
    """A bottleneck of convolutions parallel to every k x k one: y <- y + a * W_up ReLU(W_down x).

    x: (B, in, H, W), what the host's convolution reads, and y what it gives. W_down: k x k in
    in / reduction groups with its stride, then ReLU; W_up: 1x1, zero; a: one scale a channel, ones:
    it starts as the identity. in k^2 + (out + 1) in / reduction + out parameters each (reduction 4
    on ResNet-50's 16: 353,072). Not mergeable (ReLU): one thin convolution and a 1x1 one each.
    Source: Chen et al., 2022 (Conv-Adapter), convolution parallel, its best scheme. When to use it:
    convolutional networks on far domains, beside LoRA. Differs from the paper: the up-projection
    starts at zero, and the rate of reduction is one for all stages.
    """

    reduction: int = 4

    space: ClassVar = {
        **Method.space,
        "lr": LogRange(3e-5, 3e-3),  # at 1e-2 real weights are lost, see docs/findings.md
        "reduction": (2, 4, 8),
    }

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        edits: list[Edit] = []
        for site in select(sites, "conv"):
            module = model.get_submodule(site.path)
            spatial = isinstance(module, nn.Conv2d) and set(module.kernel_size) != {1}
            if spatial and site.called:
                assert isinstance(module, nn.Conv2d)
                edits.append(Rewire(site, ConvBottleneck(module, self.reduction)))
        if not edits:
            host = type(model).__name__
            reason = f"ConvAdapter needs k x k convolutions in blocks; {host} has none"
            raise NoPlace(reason, model, sites)
        return edits
