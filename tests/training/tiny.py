"""A tiny host, random pixels, and the simplest `prepare`."""

import numpy as np
import timm
import torch

from foldtune.training.recipe import Recipe

CLASSES = 5
RECIPE = Recipe(epochs=3, batch_size=8, warmup_epochs=1)
# Everything random at once: order, augmentation, dropout, drop path, mixup, cutmix.
RANDOM = Recipe(
    epochs=3,
    batch_size=8,
    warmup_epochs=0.5,
    mixup=0.2,
    cutmix=1.0,
    drop_path=0.1,
    label_smoothing=0.1,
    clip_norm=1.0,
)


def vit(seed=0, **options):
    torch.manual_seed(seed)
    options = {
        "proj_drop_rate": 0.1,
        "drop_path_rate": 0.2,
        "num_classes": CLASSES,
        "depth": 2,
    } | options
    return timm.models.VisionTransformer(
        img_size=16, patch_size=8, embed_dim=16, num_heads=2, **options
    )


def images(count=36, seed=0):
    """pixels, labels, indices: the rows leave the first four images out."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (count + 4, 16, 16, 3), dtype=np.uint8)
    return pixels, draw.integers(0, CLASSES, count + 4), np.arange(4, count + 4)


def prepare(batch, generator):
    """Floats in [-1, 1], flipped at random where there is a generator."""
    floats = batch.permute(0, 3, 1, 2).float() / 127.5 - 1
    if generator is None:
        return floats
    flipped = torch.rand(len(floats), generator=generator) < 0.5
    return torch.where(flipped[:, None, None, None], floats.flip(3), floats)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def close(a, b, tolerance=1e-6):
    """Whether two trainings agree but for rounding, their attention's keys apart.

    What is added to every key moves no softmax, so its gradient is rounding alone, and AdamW makes
    steps of any gradient.
    """
    width = len(a["cls_token"].flatten())
    for name in a:
        one, other = a[name].clone(), b[name].clone()
        if one.shape == (3 * width,) and ("bias" in name or "shift" in name):
            one[width : 2 * width] = other[width : 2 * width] = 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=tolerance, msg=name)
    return a.keys() == b.keys()


def numbers(curve):
    """The curve without what the clock decides."""
    return [
        {k: v for k, v in entry.items() if k not in ("seconds", "images_per_second")}
        for entry in curve
    ]
