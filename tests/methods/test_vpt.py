"""Where prompts go, and what becomes of a host that cannot take them."""

import pytest
import torch
from torch import nn

from foldtune.core.attach import attach
from foldtune.core.structure.probe import probe
from foldtune.errors import InputError
from foldtune.methods import VPTDeep, VPTShallow
from foldtune.methods.vpt import Prompted
from foldtune.testing import build_host


@pytest.mark.parametrize("method", [VPTShallow(count=3), VPTDeep(count=3)])
def test_prompts_reach_the_last_block_and_leave_behind_it(method):
    model, x = build_host("vit")
    attach(model, method, example=x)
    seen = probe(model, x)
    assert seen["blocks.1.norm1"].inputs.shape[1] == 1 + 3 + 16
    assert seen["norm"].inputs.shape[1] == 1 + 16


def test_shallow_prompts_are_carried_not_replaced():
    model, x = build_host("vit")
    attachment = attach(model, VPTShallow(count=3), example=x)
    before = probe(model, x)["blocks.1.norm1"].inputs[:, 1:4]
    assert not torch.allclose(before, before.new_tensor(0.0))
    with torch.no_grad():
        attachment.named_tensors()["VPTShallow.blocks.0.prompts"].mul_(2)
    assert not torch.allclose(probe(model, x)["blocks.1.norm1"].inputs[:, 1:4], before)


@pytest.mark.parametrize("method", [VPTShallow(count=3), VPTDeep(count=3)])
@pytest.mark.parametrize("family", ["hf vit", "hf dinov2"])
def test_a_mask_made_for_the_image_alone_is_widened(method, family):
    """As transformers makes it where it is traced, and in eager mode does not."""
    model, x = build_host(family)
    attach(model, method, example=x)
    with torch.no_grad():
        eager = model(x).logits
        exported = torch.export.export(model, (x,), strict=False).module()(x).logits
    assert (exported - eager).abs().max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
@pytest.mark.parametrize("rows", [1, 5])
def test_prompts_are_seen_whatever_the_mask(dtype, rows):
    hidden = torch.zeros(2, 1, rows, 5, dtype=torch.bool)
    mask = hidden if dtype == torch.bool else hidden.double() - 9
    found = Prompted(3, at=1)._widen(mask, 5)
    seen = found if dtype == torch.bool else found == 0
    assert found.shape == (2, 1, 1 if rows == 1 else 8, 8)
    assert seen[..., 1:4].all()
    assert not seen[..., 0, [0, 4, 7]].any()


def test_unknown_fixed_length_is_refused_without_a_trace():
    model, x = build_host("vit")

    class Fixed(nn.Module):
        def forward(self, tokens):
            return tokens + torch.zeros(1, 17, 24, dtype=tokens.dtype)

    model.blocks[0].drop_path1 = Fixed()
    keys = list(model.state_dict())
    with pytest.raises(InputError, match="does not take another number of tokens"):
        attach(model, VPTDeep(count=3), example=x)
    assert list(model.state_dict()) == keys
