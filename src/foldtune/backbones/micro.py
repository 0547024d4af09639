"""The embedded backbone: a small plain ViT whose weights are in the package.

`micro`: timm's VisionTransformer with patches of 8 pixels, width 128, depth 8, 4 heads, trained on
Tiny-ImageNet (200 classes) at 32 to 64 pixels; inputs of any side that is a multiple of 8, 64 by
default, mean and std 0.5. It is weak, and there so that everything runs without a network. How it
was trained and how often it is right: docs/micro.md; the recipe: recipes/distil_micro.py.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import torch

from foldtune.backbones.backbone import Asked, Backbone, Transform, sides, size_text
from foldtune.backbones.weights import fit_from_file, label, load_into, read_state
from foldtune.errors import InputError
from foldtune.torchvision_ops import declare_missing_operators

declare_missing_operators()

from timm.models.vision_transformer import VisionTransformer  # noqa: E402  (after the operators)

NAME = "micro"
SIZE = 64
_PATCH = 8
_CLASSES = 200


def build(num_classes: int = _CLASSES, channels: int = 3) -> VisionTransformer:
    """The plain network with fresh weights from torch's global generator."""
    return VisionTransformer(
        img_size=SIZE,
        patch_size=_PATCH,
        in_chans=channels,
        embed_dim=128,
        depth=8,
        num_heads=4,
        num_classes=num_classes,
        dynamic_img_size=True,
        drop_path_rate=0.1,  # the training loop sets the rate it wants, 0 included
    )


def load(asked: Asked) -> Backbone:
    """Build and fill it as `load_backbone` says."""
    size, channels = asked.size or SIZE, asked.channels or 3
    if any(side % _PATCH for side in sides(size)):
        raise InputError(
            f"{NAME} takes sizes that are multiples of {_PATCH}, not {size_text(size)}"
        )
    with torch.random.fork_rng():
        torch.manual_seed(asked.seed)
        model = build(channels=channels)
    source = f"random, seed {asked.seed}"
    if asked.weights is not None:
        found = fit_from_file(model, asked.weights, ("head",))
        model = build(found.classes(("head",)), channels)
        model.load_state_dict(found.state)
        source = label(asked.weights)
    elif asked.pretrained:
        with as_file(files("foldtune.backbones") / "micro.safetensors") as path:
            state = read_state(path)
            source = f"embedded {label(path)}"
        load_into(model, {n: t.float() for n, t in state.items()}, NAME)
    half = (0.5,) * channels
    transform = Transform(size, half, half)
    return Backbone(NAME, "embedded", model.eval(), transform, source)
