"""Sound files that hostile ones are made from: a tuning, an adapter folder, a study, an image."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from PIL import Image

from foldtune.backbones import load_backbone
from foldtune.core.attach import attach
from foldtune.core.tuningfile import save
from foldtune.data import load_data
from foldtune.interop import to_peft
from foldtune.methods import SSF, AdaptFormer, LoRA, VPTShallow
from foldtune.study.compare import compare
from foldtune.training.recipe import Recipe

SIZE, CLASSES = 16, ["blue", "red", "green"]
METHODS = (LoRA(rank=2), SSF(), AdaptFormer(rank=2), VPTShallow(count=2))


@cache
def tunings(home: Path) -> tuple[Path, ...]:
    """A tuning of each of `METHODS` on micro, three classes."""
    made = []
    for number, method in enumerate(METHODS):
        backbone = load_backbone("micro", size=SIZE)
        attachment = attach(backbone, method, num_classes=3, seed=0)
        facts = {
            "backbone": backbone.identity(), "classes": CLASSES,
            "data": {"name": "shapes", "identity": "0", "source": "shapes/count"},
            "training": {"train_on": ["train"], "run": "a"},
        }  # fmt: skip
        keys = torch.arange(8).reshape(4, 2)
        pictures = {split: keys + 8 * place for place, split in enumerate(("train", "val", "test"))}
        made.append(save(attachment, home / f"seed{number}.safetensors", facts, pictures))
    return tuple(made)


@cache
def adapter(home: Path) -> Path:
    """A LoRA adapter as PEFT writes it, with foldtune's note."""
    backbone = load_backbone("micro", size=SIZE)
    attachment = attach(backbone, LoRA(rank=2), num_classes=3, seed=0)
    facts = {"backbone": backbone.identity(), "classes": CLASSES}
    return to_peft(attachment, home / "adapter", base="micro", facts=facts)


@cache
def study(home: Path) -> Path:
    """Two methods, one trial, two seeds."""
    data = load_data("digits", size=SIZE, cache=home / "cache").few_shot(2)
    compare(
        data, load_backbone("micro", size=SIZE), ("LinearProbe", "BitFit"), out=home / "study",
        trials=1, seeds=2, recipe=Recipe(epochs=1, warmup_epochs=0.1, batch_size=32),
    )  # fmt: skip
    return home / "study"


@cache
def image(home: Path) -> Path:
    path = home / "image.png"
    Image.new("RGB", (20, 20), (200, 40, 40)).save(path)
    return path
