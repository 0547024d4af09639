"""Test-time augmentation: the mean answer over an image and its mirror image."""

from __future__ import annotations

from torch import Tensor, nn

from foldtune.errors import unknown_name
from foldtune.training.host import host_logits

VIEWS = ("flip",)


class Mirrored(nn.Module):
    """Gives the mean of a model's logits for images (batch, channels, height, width) and for the
    same mirrored left to right: twice the passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = host_logits(self.model(images)) + host_logits(self.model(images.flip(-1)))
        return found / 2


def apply_tta(model: nn.Module, tta: str | None) -> nn.Module:
    """The model as it answers with a test-time augmentation; itself without one."""
    if tta is None:
        return model
    if tta not in VIEWS:
        raise unknown_name("test-time augmentation", tta, VIEWS)
    return Mirrored(model)
