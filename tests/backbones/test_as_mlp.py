"""AS-MLP number by number against the published code (float64, atol 1e-9)."""

import inspect
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from foldtune.backbones.as_mlp import AsMlp, shift_channels

ORACLE = Path(__file__).parents[1] / "oracles" / "asmlp_plain.safetensors"
CLOSE = {"atol": 1e-9, "rtol": 0.0}


@pytest.fixture
def oracle():
    with safe_open(ORACLE, "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        arch = json.loads(file.metadata()["fixture"])["arch"]
    known = inspect.signature(AsMlp).parameters
    model = AsMlp(**{k: v for k, v in arch.items() if k in known}).double().eval()
    state = {k.removeprefix("backbone."): v for k, v in tensors.items() if "backbone." in k[:9]}
    model.load_state_dict(state)
    return model, tensors


def test_every_stage_equals_the_reference(oracle):
    model, tensors = oracle
    x = model.patch_embed(tensors["input"])
    torch.testing.assert_close(x, tensors["stage_out.0"], **CLOSE)
    for i, stage in enumerate(model.layers, 1):
        x = stage(x)
        torch.testing.assert_close(x, tensors[f"stage_out.{i}"], **CLOSE)
    torch.testing.assert_close(model(tensors["input"]), tensors["logits"], **CLOSE)


def test_every_gradient_equals_the_reference(oracle):
    model, tensors = oracle
    x = tensors["input"].clone().requires_grad_()
    loss = F.cross_entropy(model(x), tensors["target"])
    torch.testing.assert_close(loss, tensors["loss"], **CLOSE)
    loss.backward()
    torch.testing.assert_close(x.grad, tensors["grad.input"], **CLOSE)
    wanted = {k.removeprefix("grad.").removeprefix("backbone."): k for k in tensors if "grad." in k}
    for name, key in wanted.items():
        if name != "input":
            torch.testing.assert_close(model.get_parameter(name).grad, tensors[key], **CLOSE)


@pytest.mark.parametrize("channels", [10, 12])
def test_channel_groups_move_apart_and_zeros_come_in(channels):
    x = torch.rand(2, channels, 3, 7)
    moved = shift_channels(x, 5, axis=3)
    for channel in range(channels):
        by = channel // -(-channels // 5) - 2
        for column in range(7):
            came = x[:, channel, :, column - by] if 0 <= column - by < 7 else torch.zeros(2, 3)
            assert torch.equal(moved[:, channel, :, column], came)


def test_base_size_is_that_of_the_paper():
    with torch.device("meta"):
        assert sum(p.numel() for p in AsMlp().parameters()) == 87_752_808  # "88 M"
