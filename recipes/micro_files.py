"""What the recipes of `micro` share: file names, the reported accuracy, whole writes."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import torch
from cyclopts import App
from PIL import Image

from foldtune.augment.batch import to_float
from foldtune.backbones import Backbone
from foldtune.console import say
from foldtune.data import ImageData
from foldtune.data.store.decode import Fit
from foldtune.errors import InputError
from foldtune.judging.predict import predict_logits

CHECKPOINT, WEIGHTS, RESULT = "checkpoint.safetensors", "weights.safetensors", "result.json"
ASKED = "asked.json"
SIDES = (64, 32)
LICENCE = "Tiny-ImageNet's images come from ImageNet, whose terms are for non-commercial research."


def accuracies(backbone: Backbone, images: ImageData) -> dict[str, float]:
    """Top-1 in float32 on the given validation images, which load_data calls `test`, by side.

    Where the side is not that of the images they are resized as load_data does it.
    """
    rows = images.split("test")
    mean, std = backbone.transform.mean, backbone.transform.std
    found = {}
    for side in SIDES:
        pixels = images.pixels[rows]
        if pixels.shape[1] != side:
            fit = Fit(side)
            pixels = np.stack([np.asarray(fit.apply(Image.fromarray(image))) for image in pixels])
        logits = predict_logits(
            backbone.model, pixels, np.arange(len(rows)), lambda b, _: to_float(b, mean, std)
        )
        right = logits.argmax(1) == torch.from_numpy(images.labels[rows])
        found[str(side)] = right.double().mean().item()
    return found


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def run(app: App) -> None:
    """Run a recipe's command line; bad input is one line and exit code 2, as foldtune's own."""
    try:
        app(result_action="return_value")
    except InputError as error:
        say(f"error: {error}")
        sys.exit(2)
