"""VPT: learned prompt tokens beside the image's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.edits import Adapter, Edit, Rewire
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site, select
from foldtune.methods.refusal import NoPlace


class Prompted(Adapter):
    """Around a block in which `count` prompts stand at `at`: a mask that it is given is widened.

    transformers makes a mask of attention for the image's own tokens where it is traced, and none
    otherwise; the prompts are seen by all, and see all.
    """

    keeps_shape = False

    def __init__(self, count: int, at: int) -> None:
        super().__init__()
        self.count, self.at = count, at

    def on_enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self._strength == 0.0:
            return None
        args, kwargs = super().on_enter(module, args, kwargs) or (args, kwargs)
        x = next(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
        tokens = x.shape[1] - self.count
        wide = {k: self._widen(a, tokens) for k, a in kwargs.items()}
        return tuple(self._widen(a, tokens) for a in args), wide

    def _widen(self, mask: Any, tokens: int) -> Any:
        """A mask (batch, heads, rows or 1, tokens) with the prompts in it; all else as it is."""
        if not isinstance(mask, Tensor) or mask.ndim != 4 or mask.shape[-1] != tokens:
            return mask
        for axis in (-1, -2):
            if mask.shape[axis] > 1:  # 1: the same for all, by broadcasting
                sizes = list(mask.shape)
                sizes[axis] = self.count
                seen = mask.new_full(sizes, mask.dtype == torch.bool)
                before, behind = mask.tensor_split((self.at,), axis)
                mask = torch.cat([before, seen, behind], axis)
        return mask


class Prompts(Prompted):
    """[prefix, patches] -> [prefix, prompts, patches] on entering.

    prompts: (count, channels), uniform in +-bound, shared by all images of the batch.
    """

    def __init__(self, count: int, channels: int, bound: float, dropout: float, at: int) -> None:
        super().__init__(count, at)
        self.prompts = nn.Parameter(torch.empty(count, channels).uniform_(-bound, bound))
        self.dropout = dropout

    def enter(self, x: Tensor) -> Tensor:
        prompts = F.dropout(self.prompts.expand(x.shape[0], -1, -1), self.dropout, self.training)
        return torch.cat([x[:, : self.at], prompts, x[:, self.at :]], 1)


class PromptsEnd(Prompted):
    """[prefix, prompts, patches] -> [prefix, patches] on leaving."""

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        return _without(y, self.at, self.count)


class PassingPrompts(Prompts):
    """Prompts of one block alone: in on entering, out on leaving."""

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        return _without(y, self.at, self.count)


def _without(y: Tensor, at: int, count: int) -> Tensor:
    return torch.cat([y[:, :at], y[:, at + count :]], 1)


@dataclass(frozen=True, repr=False)
class VPTShallow(Method):
    """`count` prompts enter before the first block and pass, transformed, through all of them.

    Tokens [cls, prompts, patches], (B, 1 + count + N, D); prompts: (count, D), without position
    embedding, uniform in +-sqrt(6 / (3 p^2 + D)) for patches of p x p. count D parameters (10 on
    ViT-B/16: 7,680). It does not start as the identity. Not mergeable, and not to be interpolated:
    it adds tokens, whose attention every image pays for. Source: Jia et al., ECCV 2022, eq. 4 to 6.
    When to use it: the fewest parameters; weaker than VPTDeep almost everywhere. Differs from the
    paper: the prompts are taken out behind the last block, so that hosts which average their tokens
    average those of the image; the host's own dropout stays as the host has it. Differs from the
    unifying study's code, which loses the prompts behind the first block.
    """

    count: int = 10
    dropout: float = 0.0

    starts_as_identity: ClassVar[bool] = False
    space: ClassVar = {**Method.space, "count": (5, 10, 50, 100)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        blocks, bound, at = _places(self, model, sites)
        first, last, width = blocks[0], blocks[-1], blocks[0].channels
        if first == last:
            return [Rewire(first, PassingPrompts(self.count, width, bound, self.dropout, at))]
        return [
            Rewire(first, Prompts(self.count, width, bound, self.dropout, at)),
            *(Rewire(s, Prompted(self.count, at)) for s in blocks[1:-1]),
            Rewire(last, PromptsEnd(self.count, at)),
        ]


@dataclass(frozen=True, repr=False)
class VPTDeep(Method):
    """`count` prompts of its own enter every block, and what it made of them is dropped.

    Tokens [cls, prompts_i, patches], (B, 1 + count + N, D); per block prompts: (count, D), without
    position embedding, uniform in +-sqrt(6 / (3 p^2 + D)) for patches of p x p. L count D
    parameters (ViT-B/16: 10 92,160, 100 921,600). It does not start as the identity. Not mergeable,
    not to be interpolated: it adds tokens, whose attention every image pays for. Source: Jia et
    al., ECCV 2022, eq. 7 and 8. When to use it: few images, natural domains; `count` matters.
    Differs from the paper: the host's own dropout and drop path stay as the host has them.
    """

    count: int = 10
    dropout: float = 0.0

    starts_as_identity: ClassVar[bool] = False
    space: ClassVar = {**Method.space, "count": (5, 10, 50, 100)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        blocks, bound, at = _places(self, model, sites)
        return [
            Rewire(s, PassingPrompts(self.count, s.channels, bound, self.dropout, at))
            for s in blocks
        ]


def _places(
    method: Method, model: nn.Module, sites: Sequence[Site]
) -> tuple[tuple[Site, ...], float, int]:
    """Blocks, bound of the first draw, and where prompts enter; or the refusal with its reason."""
    blocks = select(sites, "block")
    reason = _obstacle(model, sites)
    if reason:
        host = type(model).__name__
        raise NoPlace(f"{method!r} cannot be attached to {host}: {reason}", model, sites)
    stem = model.get_submodule(select(sites, "stem")[0].path)
    patch = stem.get_parameter("weight")[0].numel()
    bound = math.sqrt(6.0 / (patch + blocks[0].channels))
    # Attention does not see the order of tokens, so any place will do for hosts that name none.
    return blocks, bound, int(getattr(model, "num_prefix_tokens", 1))


def _obstacle(model: nn.Module, sites: Sequence[Site]) -> str | None:
    if not select(sites, "block"):
        return "it repeats no blocks that prompts could enter"
    odd = next((s for s in select(sites, "block") if s.layout != "tokens"), None)
    if odd is not None:
        gives = "height, width, channels" if odd.layout == "grid" else "channels, height, width"
        return f"{odd.path} gives (batch, {gives}); prompts need (batch, tokens, channels)"
    if any(s.layout == "turned" for s in sites):
        return "its token mixer is a matrix for a fixed number of tokens"
    if any(s.layout == "windows" for s in sites):
        return "its attention is given windows, which prompts of an image do not enter"
    if getattr(model, "rope", None) is not None:
        return "its rotary embedding is made for a fixed number of tokens"
    if any(n.endswith("relative_position_bias_table") for n, _ in model.named_parameters()):
        return "its relative position bias is made for a fixed number of tokens"
    return None
