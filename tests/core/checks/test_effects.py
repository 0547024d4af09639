"""A tensor that trains moves what its method says it moves, or the method is refused."""

from dataclasses import dataclass

import pytest
import torch
from timm.layers import ScaledStdConv2d, StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

import foldtune
from foldtune.core.attach import attach
from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Adapter, Reweight, Rewire
from foldtune.core.method import Method
from foldtune.errors import InputError
from foldtune.methods import SSF, AdapterPlus, LoRA
from foldtune.testing import TINY_HOSTS, build_host

from ..tiny import assert_untouched, attention_host, random_host, snapshot, vit


def standardised(conv):
    settings = {"layers": (2, 1), "channels": (128, 128), "stem_chs": 32, "num_classes": 5}
    return random_host(lambda: ResNetV2(**settings, stem_type="", conv_layer=conv))


@pytest.mark.parametrize("conv", [StdConv2d, ScaledStdConv2d])
def test_gain_that_a_standardised_convolution_cancels_is_refused(conv):
    model, x = standardised(conv)
    before = snapshot(model)
    with pytest.raises(
        InputError, match=rf"scale at stem.conv trains without effect.*{conv.__name__}"
    ):
        attach(model, SSF(), example=x, seed=0)
    assert_untouched(model, before)
    for method in (SSF(skip=("stem", "conv", "downsample")), AdapterPlus(rank=2)):
        attach(model, method, example=x, seed=0).detach()


class Dead(Delta):
    """A gain that nothing multiplies with: its gradient is zero, not missing."""

    moves_bias = False

    def __init__(self, channels):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.added = nn.Parameter(torch.zeros(channels))

    def fold(self, weight, bias):
        return weight * self.gain[:, None] + self.added[:, None], bias


class DeadCall(Dead):
    def call(self, x, layer):
        return layer(x) + 0 * self.gain + 0 * self.added


class OtherCall(Dead):
    def call(self, x, layer):
        return layer(x) * self.gain + 2 * self.added * x.sum(-1, keepdim=True)


class DeadSide(Adapter):
    def __init__(self, channels):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def leave(self, x, y):
        return y + (self.gain - self.gain.detach()) * 0


@dataclass(frozen=True, repr=False)
class Trial(Method):
    kind: str = "DeadCall"

    def edits(self, model, sites):
        if self.kind == "DeadSide":
            return [Rewire(s, DeadSide(s.channels)) for s in sites if s.role == "mlp"]
        made = {"Dead": Dead, "DeadCall": DeadCall, "OtherCall": OtherCall}[self.kind]
        return [Reweight(s, made(s.channels)) for s in sites if s.role == "mlp.up"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("DeadCall", "gain at blocks.0.mlp.fc1 trains without effect|gives something else"),
        ("OtherCall", "blocks.0.mlp.fc1: its `call` gives something else than the weight"),
        ("DeadSide", "gain at blocks.0.mlp trains without effect"),
    ],
)
def test_tensor_without_effect_and_call_unlike_fold_are_refused(kind, told):
    model, x = vit()
    before = snapshot(model)
    with pytest.raises(InputError, match=told):
        attach(model, Trial(kind), example=x, seed=0)
    assert_untouched(model, before)
    attach(model, Trial("Dead"), example=x, seed=0)


@pytest.mark.parametrize("host", [*TINY_HOSTS, "attention"])
def test_trial_leaves_every_tensor_and_the_generator_as_they_were(host):
    model, x = attention_host() if host == "attention" else build_host(host)
    torch.manual_seed(7)
    attachment = attach(model, SSF(std=0.0), example=x)
    drawn = torch.rand(3)
    torch.manual_seed(7)
    attachment.detach()
    again = attach(model, SSF(std=0.0), example=x)
    assert torch.equal(torch.rand(3), drawn)
    for name, tensor in again.named_tensors().items():
        if name in again.holdings.own:
            wanted = torch.ones_like if "scale" in name else torch.zeros_like
            assert torch.equal(tensor, wanted(tensor)), name


def test_dropout_in_place_behind_a_layer_is_found_before_the_first_step():
    model, x = vit()
    for block in model.blocks:
        block.mlp.drop1 = nn.Dropout(0.5, inplace=True)
        block.mlp.act = nn.Identity()
    attachment = attach(model, SSF(), example=x, seed=0)
    model.train()
    model(x).square().sum().backward()
    assert all(p.grad is not None for p in attachment.parameters())


def test_gain_on_weights_that_are_zero_promises_nothing():
    model, x = vit()
    nn.init.zeros_(model.blocks[1].mlp.fc2.weight)
    nn.init.zeros_(model.blocks[1].mlp.fc2.bias)
    attach(model, SSF() + LoRA(rank=2), example=x, seed=0)


def test_shift_in_front_of_a_saturated_activation_is_no_dead_one():
    # A norm with an activation of its own, nearly all of whose units give 0 or 6 on the example.
    backbone = foldtune.load_backbone("lite0", size=32, channels=4)
    assert foldtune.attach(backbone, SSF(), num_classes=2, seed=0).trainable
