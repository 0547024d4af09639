"""Nothing for the frozen: what the blocks below the first edit give is computed once, then kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.core.structure.probe import eval_mode
from foldtune.training.batches import load_pixels
from foldtune.training.host import host_logits, train_mode
from foldtune.training.recipe import Recipe
from foldtune.training.regularise import drop_path

LIMIT = 2**30  # bytes of features; 1,000 images of ViT-S/16 at 224 pixels take 303 MB


class Prefix:
    """A model cut before the first of its blocks that training can change.

    The blocks are one nn.Sequential, each with one tensor (images, tokens, channels) in and out.
    Inside `install()` the model runs from the cut on, over the features that `prepare` was last
    given; the stem still runs, on nothing, since the host's own forward calls it.
    """

    def __init__(self, model: nn.Module, blocks: nn.Sequential, cut: int, example: Tensor) -> None:
        self.model, self.blocks, self.cut = model, blocks, cut
        self._nothing = torch.zeros_like(example[:1])
        self._features: Tensor | None = None

    def features(self, images: Tensor) -> Tensor:
        """What the first block above the cut is given for these images."""
        return _block_inputs(self.model, self.blocks, images)[self.cut]

    def table(
        self,
        pixels: np.ndarray,
        rows: np.ndarray,
        prepare: Callable[[Tensor, torch.Generator | None], Tensor],
        batch_size: int = 64,
    ) -> np.ndarray:
        """The features at their image's row, float32; other rows stay zero and take no memory."""
        table: np.ndarray | None = None
        with torch.no_grad(), eval_mode(self.model):
            for start in range(0, len(rows), batch_size):
                own = rows[start : start + batch_size]
                batch = load_pixels(pixels, own, self._nothing.device)
                found = self.features(prepare(batch, None)).cpu().numpy()
                if table is None:
                    table = np.zeros((len(pixels), *found.shape[1:]), np.float32)
                table[own] = found
        assert table is not None
        return table

    def prepare(self, features: Tensor, _generator: torch.Generator | None) -> Tensor:
        """Keep the batch of features for the pass that follows; images for the stem."""
        self._features = features
        return self._nothing.expand(len(features), -1, -1, -1)

    @contextmanager
    def install(self) -> Iterator[None]:
        """Run the model from the cut on inside; as it was after."""
        self.blocks.forward = self._above  # type: ignore[method-assign]
        try:
            yield
        finally:
            del self.blocks.forward
            self._features = None

    def _above(self, _nothing: Tensor) -> Tensor:
        x = self._features
        assert x is not None
        for block in list(self.blocks)[self.cut :]:
            x = block(x)
        return x


def prefix_of(
    model: nn.Module, blocks: Sequence[str], recipe: Recipe, example: Tensor, images: int,
    limit: int = LIMIT,
) -> Prefix | None:  # fmt: skip
    """The model cut below its first block that trains, or None where that is not worth it, not
    safe, or needs more than `limit` bytes for so many images.

    blocks: their paths in order. example: (2 or more, 3, height, width). Needs images that come
    alike in every epoch (no augment, mixup, cutmix, phases, drop path) in fp32, frozen blocks below
    the first trainable one that compute the same in training as in evaluation, and logits that are,
    on the example, those of the whole model to the bit.
    """
    varied = recipe.augment or recipe.mixup or recipe.cutmix or recipe.phases or recipe.drop_path
    if varied or recipe.precision != "fp32" or recipe.epochs < 2:
        return None
    sequence = _sequence(model, blocks)
    if sequence is None:
        return None
    with torch.random.fork_rng(), drop_path(model, 0.0), eval_mode(model):
        given = _block_inputs(model, sequence, example, plainly=True)
        frozen = [x for x in given if not x.requires_grad]
        cut = len(frozen) - 1
        if len(given) != len(sequence) or cut < 1 or _size(given[cut], len(example)) is None:
            return None
        if given[cut][0].numel() * 4 * images > limit:
            return None
        train_mode(model)
        with torch.no_grad():
            moved = _block_inputs(model, sequence, example)[cut]
        found = Prefix(model, sequence, cut, example)
        return found if torch.equal(moved, given[cut]) and _agrees(found, example) else None


def _sequence(model: nn.Module, blocks: Sequence[str]) -> nn.Sequential | None:
    """The nn.Sequential whose children are exactly the blocks."""
    parents = {path.rpartition(".")[0] for path in blocks}
    if len(parents) != 1:
        return None
    parent = parents.pop()
    module = model.get_submodule(parent)
    own = [f"{parent}.{name}" for name, _ in module.named_children()]
    return module if type(module) is nn.Sequential and own == list(blocks) else None


def _block_inputs(
    model: nn.Module, blocks: nn.Sequential, images: Tensor, plainly: bool = False
) -> list[Tensor]:
    """The input of each block, in order, up to the last; fewer where one is given anything else.

    plainly: with gradients and through the whole model, to see what training can reach.
    """
    seen: list[Tensor] = []

    def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(args) == 1 and isinstance(args[0], Tensor) and not kwargs:
            seen.append(args[0])

    handles = [b.register_forward_pre_hook(look, with_kwargs=True) for b in blocks]
    try:
        with torch.set_grad_enabled(plainly or torch.is_grad_enabled()):
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _size(features: Tensor, batch: int) -> int | None:
    """Values an image, where the features are float32 tokens of the images."""
    tokens = features.ndim == 3 and len(features) == batch and features.dtype == torch.float32
    return features[0].numel() if tokens else None


@torch.no_grad()
def _agrees(prefix: Prefix, example: Tensor) -> bool:
    """Whether the logits from the cut on are those of the whole model."""
    prefix.model.eval()
    whole = host_logits(prefix.model(example))
    features = prefix.features(example)
    with prefix.install():
        return torch.equal(whole, host_logits(prefix.model(prefix.prepare(features, None))))
