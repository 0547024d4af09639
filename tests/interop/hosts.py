"""Tiny hosts of timm and transformers, built anew with the same values at every call."""

import timm
import torch
from transformers import ViTConfig, ViTForImageClassification

from core.tiny import random_host, shift
from foldtune.testing import build_host


def hf_vit():
    """transformers' ViT, whose q, k and v are layers of their own."""
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        image_size=32, patch_size=8, num_labels=5,
    )  # fmt: skip
    return random_host(lambda: ViTForImageClassification(config))


def bottleneck():
    """A ResNet with 1x1 convolutions."""
    sizes = {"layers": (2, 1, 1, 1), "channels": (4, 4, 8, 8), "num_classes": 5}
    return random_host(lambda: timm.create_model("resnet50", **sizes))


def host(name):
    """A model and images (2, 3, 32, 32), equal at every call."""
    own = {"hf": hf_vit, "bottleneck": bottleneck}
    return own[name]() if name in own else build_host(name)


def logits(model, x):
    with torch.no_grad():
        out = model(x)
    return out if isinstance(out, torch.Tensor) else out.logits


def train(attachment):
    """Move every trainable tensor; returns the attachment."""
    shift(attachment)
    return attachment
