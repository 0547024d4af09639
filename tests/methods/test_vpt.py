"""Where prompts go, and what becomes of a host that cannot take them."""

import pytest
import torch
from torch import nn

from foldtune.core.attach import attach
from foldtune.core.probe import probe
from foldtune.errors import InputError
from foldtune.methods import VPTDeep, VPTShallow
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
