"""Our own defaults for a user's folder."""

from __future__ import annotations

from foldtune.training.recipe import Recipe

METHODS = ("LinearProbe", "BitFit", "LayerNorm", "SSF", "LoRA", "AdaptFormer", "Full")


def default_recipe(epochs: int = 20) -> Recipe:
    """AdamW, cosine, a tenth of the epochs (five at most) warming up, no augmentation."""
    return Recipe(epochs=epochs, warmup_epochs=warmup(epochs))


def warmup(epochs: int) -> float:
    """Epochs of warming up by default: a tenth, five at most."""
    return min(0.1 * epochs, 5.0)
