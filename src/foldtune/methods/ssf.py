"""SSF: scale and shift the output of every layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from foldtune.core.compute.called import frozen_linear
from foldtune.core.compute.delta import Delta
from foldtune.core.compute.lean import Pair, scale_shift, scale_shift_linear
from foldtune.core.edits import Adapter, Edit, Reweight, Rewire
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site, select
from foldtune.errors import InputError

_PLACES = ("norm", "attn.in", "attn.out", "mlp.up", "mlp.down", "conv", "stem")


class ScaleShift(Delta):
    """y = scale * f(x) + shift per output channel: W' = diag(scale) W, b' = scale b + shift.

    scale, shift: (out,). `shift` is absent where no stored bias can take it. On a norm, whose
    affine is one product per channel, folding costs nothing and keeps no activation.
    """

    def __init__(self, channels: int, shift: bool, std: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels).normal_(1.0, std))
        self.shift = nn.Parameter(torch.empty(channels).normal_(0.0, std)) if shift else None

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        weight = weight * self.scale.view(-1, *[1] * (weight.ndim - 1))
        if bias is not None:
            bias = bias * self.scale
        if self.shift is not None:
            bias = self.shift if bias is None else bias + self.shift
        return weight, bias


class FeatureScaleShift(ScaleShift):
    """The same on the features, for a called Linear (channels last) or Conv2d (channel axis 1)."""

    def __init__(self, channels: int, shift: bool, std: float, channel_axis: int) -> None:
        super().__init__(channels, shift, std)
        self.channel_axis = channel_axis

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        stored, lean = frozen_linear(layer), self.leanness()
        if stored is None:
            return scale_shift(layer(x), self.scale, self.shift, self.channel_axis, lean)
        return scale_shift_linear(x, *stored, self.scale, self.shift, lean)

    def divisors(self) -> Sequence[Pair]:
        return ((self.scale, self.shift),)


class RetainedScaleShift(Adapter):
    """scale * y + shift on maps (B, C, H, W) between the last block and a pooling and its norm.

    The norm divides by what the scale made of its input, so neither can fold into it; a merged
    model keeps them. Pooling commutes with both, so the cost is one operation per image at least.
    """

    survives_merge = True

    def __init__(self, channels: int, std: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels).normal_(1.0, std))
        self.shift = nn.Parameter(torch.empty(channels).normal_(0.0, std))

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.addcmul(self.shift.view(-1, 1, 1), y, self.scale.view(-1, 1, 1))


@dataclass(frozen=True, repr=False)
class SSF(Method):
    """Scale and shift the output features of every layer: y = gamma * f(x) + beta.

    gamma ~ N(1, std), beta ~ N(0, std), per channel, after the patch embedding, every norm, qkv,
    proj, fc1 (before GELU), fc2 and convolution of a block, and the final norm; not in
    down-sampling layers (as the authors' code runs; `downsample=True` adds them). On ViT-B/16
    2 (11 D L + 2 D) = 205,824 parameters. It does not start as the identity (`std=0` does). 1-D, so
    without weight decay. Merges exactly: W' = diag(gamma) W, b' = gamma b + beta.
    On ConvNeXt the last pair stands, as in the paper, behind the last stage, where only pooling and
    a norm follow, which cannot take it: merging is exact but for this one affine, which stays in
    the model. `absorb=True` puts the pair behind that norm instead, and nothing stays.
    Source: Lian et al., NeurIPS 2022, eq. 2 and 4. When to use it: a strong default from a few
    hundred images on. Differs from the paper: only the scale is learnt where the host assembles the
    bias of qkv itself (EVA-02, BEiT, SwinV2) and where it has none (CLIP's patch embedding, the
    qkv of DINOv3), so that the merged model has the plain one's keys; `add_bias=True` learns the
    shift of the latter, and merging creates the bias. On AS-MLP the authors' code leaves the patch
    embedding and the norms inside the axial shift alone, which `skip` (roles or paths) can do.
    """

    std: float = 0.02
    downsample: bool = False
    skip: tuple[str, ...] = ()
    absorb: bool = False
    add_bias: bool = False

    starts_as_identity: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.std < 0:
            raise InputError(f"SSF: std must be at least 0, not {self.std}")

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        wanted = (*_PLACES, "downsample") if self.downsample else _PLACES
        skipped = select(sites, *self.skip)
        last = max(select(sites, "block"), key=lambda s: s.depth, default=None)
        edits: list[Edit] = []
        for site in select(sites, *wanted):
            if site in skipped:
                continue
            retained = last is not None and last.layout == "maps" and not self.absorb
            if last is not None and retained and site.role == "norm" and site.pooled:
                edits.append(Rewire(last, RetainedScaleShift(last.channels, self.std)))
            else:
                edits.append(self._edit(site))
        return edits

    def _edit(self, site: Site) -> Edit:
        if self.add_bias:
            site = site.with_bias()
        shift = site.bias is not None
        if site.role == "norm" or not site.called:
            return Reweight(site, ScaleShift(site.channels, shift, self.std))
        axis = 1 if site.layout == "maps" else -1
        return Reweight(site, FeatureScaleShift(site.channels, shift, self.std, axis))
