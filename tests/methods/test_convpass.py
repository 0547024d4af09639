"""Convpass needs to know which tokens are a square of patches."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods import Convpass, VPTDeep

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("options", "method", "words"),
    [
        ({"reg_tokens": 4}, Convpass(rank=2), "5 tokens stand before the patches"),
        ({"img_size": (32, 72)}, Convpass(rank=2), "4 x 9 patches are no square"),
        ({}, VPTDeep(count=2) + Convpass(rank=2), "no square of patches"),
    ],
)
def test_tokens_that_are_no_square_are_refused(options, method, words):
    settings = SMALL | options
    size = settings["img_size"]
    images = torch.rand(2, 3, *(size if isinstance(size, tuple) else (size, size)))
    with pytest.raises(InputError, match=words):
        attach(VisionTransformer(**settings), method, example=images)


def test_host_without_class_token_is_taken():
    model = VisionTransformer(**SMALL, class_token=False, global_pool="avg")
    assert attach(model, Convpass(rank=2), example=torch.rand(2, 3, 32, 32)).trainable
