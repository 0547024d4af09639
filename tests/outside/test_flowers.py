"""Real flowers with `micro`, beside Pillow, plain timm and scikit-learn on the same files."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from timm.models.vision_transformer import VisionTransformer

import foldtune
from foldtune.backbones.prepare import prepare_for
from foldtune.data import load_data
from foldtune.training.probe import classifier_inputs

FLOWERS = "flowers12-224.zip"
SIZE = 64


def plain_micro() -> VisionTransformer:
    """micro's network and weights, by timm and safetensors alone."""
    model = VisionTransformer(
        img_size=SIZE, patch_size=8, embed_dim=128, depth=8, num_heads=4, num_classes=200
    )
    stored = load_file(str(files("foldtune.backbones") / "micro.safetensors"))
    model.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    return model.eval()


def plain_images(root: Path, names: list[str]) -> np.ndarray:
    """(images, SIZE, SIZE, 3) uint8, squashed bicubic by Pillow."""
    sides = (SIZE, SIZE)
    opened = (Image.open(root / name).convert("RGB") for name in names)
    return np.stack([np.asarray(i.resize(sides, Image.Resampling.BICUBIC)) for i in opened])


def plain_features(pixels: np.ndarray) -> np.ndarray:
    """(images, 128) float32, what micro's classifier is given."""
    model, kept = plain_micro(), []
    with torch.inference_mode():
        for some in torch.from_numpy(pixels).permute(0, 3, 1, 2).split(64):
            given = model.forward_features((some.float() / 255 - 0.5) / 0.5)
            kept.append(model.forward_head(given, pre_logits=True))
    return torch.cat(kept).numpy()


def names_of(data, rows) -> list[str]:
    return [data.names[row] for row in rows]


def test_the_whole_set_loads(outside_set, cache):
    data = load_data(outside_set(FLOWERS), size=32, cache=cache)
    # One training picture is there twice, so its class gives 13 images to val and not 12.
    assert data.facts["counts"] == {"train": 575, "val": 145, "test": 240}
    assert len(data.classes) == 12


def test_features_are_those_of_pillow_and_plain_timm(few_shot, cache):
    root = few_shot(FLOWERS, 8)
    data, backbone = load_data(root, size=SIZE, cache=cache), foldtune.load_backbone("micro")
    rows = data.split("train")
    ours = classifier_inputs(backbone.model, "head", data.pixels, rows, prepare_for(backbone))
    theirs = plain_features(plain_images(root, names_of(data, rows)))
    # Batches of 256 and of 64, normalisation in another order: single precision, values of 1 to 10.
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shots", [4, 16])
def test_a_linear_probe_is_no_worse_than_one_anybody_fits(few_shot, cache, shots):
    root = few_shot(FLOWERS, shots)
    data = load_data(root, size=SIZE, cache=cache)
    fitted = foldtune.fit(data, "micro", "LinearProbe")
    train, test = (
        plain_features(plain_images(root, names_of(data, data.split(split))))
        for split in ("train", "test")
    )
    truth, judged = data.labels[data.split("train")], data.labels[data.split("test")]
    mean, spread = train.mean(0), train.std(0)
    logistic = LogisticRegression(C=0.05, max_iter=1000).fit((train - mean) / spread, truth)
    nearest = KNeighborsClassifier(1).fit(train, truth)
    best = max(
        logistic.score((test - mean) / spread, judged),
        nearest.score(test, judged),
    )
    # Two standard errors of the difference on 240 images, where one in ten is judged differently.
    assert fitted.row["test_accuracy"] > best - 0.04
