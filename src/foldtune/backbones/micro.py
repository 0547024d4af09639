"""The embedded backbone: a small plain ViT whose weights are in the package.

`micro`: timm's VisionTransformer with patches of 8 pixels, width 128, depth 8, 4 heads, trained on
Tiny-ImageNet (200 classes) at 32 to 64 pixels; inputs of any side that is a multiple of 8, 64 by
default, mean and std 0.5. It is weak, and there so that everything runs without a network. How it
was trained and how often it is right: docs/micro.md; the recipe: recipes/distil_micro.py.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import torch

from foldtune.backbones.backbone import Backbone, Transform
from foldtune.backbones.weights import fitted, label, load_into, read_state
from foldtune.errors import InputError
from foldtune.torchvision_ops import declare_missing_operators

declare_missing_operators()

from timm.models.vision_transformer import VisionTransformer  # noqa: E402  (after the operators)

NAME = "micro"
SIZE = 64
_PATCH = 8
_CLASSES = 200


def build(num_classes: int = _CLASSES) -> VisionTransformer:
    """The plain network with fresh weights from torch's global generator."""
    return VisionTransformer(
        img_size=SIZE,
        patch_size=_PATCH,
        embed_dim=128,
        depth=8,
        num_heads=4,
        num_classes=num_classes,
        dynamic_img_size=True,
        drop_path_rate=0.1,  # the training loop sets the rate it wants, 0 included
    )


def load(weights: str | Path | None, pretrained: bool, size: int | None, seed: int) -> Backbone:
    """Build and fill it as `load_backbone` says."""
    side = size or SIZE
    if side % _PATCH or side < _PATCH:
        raise InputError(f"{NAME} takes sizes that are multiples of {_PATCH}, not {side}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
    source = f"random, seed {seed}"
    if weights is not None:
        found = fitted(model, weights, ("head",))
        model = build(found.classes(("head",)))
        model.load_state_dict(found.state)
        source = label(weights)
    elif pretrained:
        with as_file(files("foldtune.backbones") / "micro.safetensors") as path:
            state = read_state(path)
            source = f"embedded {label(path)}"
        load_into(model, {n: t.float() for n, t in state.items()}, NAME)
    transform = Transform(side, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return Backbone(NAME, "embedded", model.eval(), transform, source)
