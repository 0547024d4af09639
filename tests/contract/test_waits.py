"""A training step asks the device for no number but one: each would wait for all before it."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from foldtune.core.attach import attach
from foldtune.methods import SSF, parse
from foldtune.testing import build_host
from foldtune.testing.capabilities import own_methods

T = torch.Tensor
ASKS = {T.__bool__, T.__int__, T.__float__, T.__index__, T.item, T.tolist, torch.equal, T.nonzero}


class Waits(TorchFunctionMode):
    """Counts the numbers that Python asks of tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func in ASKS
        return func(*args, **(kwargs or {}))


def waits(model, x):
    model.train()
    with Waits() as seen:
        model(x).square().mean().backward()
    return seen.count


PAIRS = [
    *((method, "vit") for method in own_methods() if method != "ConvAdapter()"),
    *((method, "vit") for method in ("VeRA()", "HRA()", "SHiRA()")),
    *((method, "resnet") for method in ("ConvAdapter()", "SSF()", "LoRA()", "Full()")),
    *((method, "convnext") for method in ("SSF()", "IA3()")),
]


@pytest.mark.parametrize(("method", "host"), PAIRS)
def test_step_asks_at_most_once(method, host):
    model, x = build_host(host)
    attach(model, parse(method), example=x, seed=0)
    assert waits(model, x) <= 1


def test_blocks_that_are_called_by_themselves_ask_for_themselves():
    model, x = build_host("vit")
    attach(model, SSF(), example=x, seed=0)
    with Waits() as seen:
        model.forward_features(x)
    assert seen.count > 1


def test_scale_that_became_too_small_between_passes_is_not_divided_by():
    model, x = build_host("vit")
    attachment = attach(model, SSF(), example=x, seed=0)
    model.eval()
    wanted = {}
    for lean in (False, True):
        for edit in attachment.edits:
            edit.delta.lean = lean
        scale = attachment.edits[3].delta.scale
        kept = scale.detach().clone()
        model(x)
        scale.data[0] = 1e-9  # past the version counter
        model(x).square().mean().backward()
        wanted[lean] = scale.grad.clone()
        scale.data.copy_(kept)
        model.zero_grad()
    torch.testing.assert_close(wanted[True], wanted[False], rtol=1e-9, atol=1e-12)
