"""The mean over an image and its mirror image, and nothing else."""

import pytest
import torch
from torch import nn

from foldtune.errors import InputError
from foldtune.judging.mirror import apply_tta


def test_logits_are_the_mean_over_both_views():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images = torch.rand(4, 3, 2, 2)
    wanted = (model(images) + model(images.flip(3))) / 2
    torch.testing.assert_close(apply_tta(model, "flip")(images), wanted)
    torch.testing.assert_close(apply_tta(model, "flip")(images.flip(3)), wanted)
    assert apply_tta(model, None) is model
    with pytest.raises(InputError, match="flip"):
        apply_tta(model, "crop")
