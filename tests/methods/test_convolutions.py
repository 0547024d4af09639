"""Low-rank updates and adapters of k x k, grouped and depth-wise convolutions."""

import copy

import peft
import pytest
import torch
from torch import nn

from foldtune.core.attach import attach
from foldtune.core.structure.sites import Site
from foldtune.methods import ConvAdapter, DoRA, LoRA, RepAdapter
from foldtune.methods.low_rank import low_rank
from foldtune.testing import build_host

LAYERS = {
    "3x3": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "uneven": {"kernel_size": (1, 5), "padding": (0, 2)},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 4},
    "depth-wise": {"kernel_size": 3, "padding": 1, "groups": 8},
}


class Host(nn.Module):
    def __init__(self, **geometry):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, **geometry)

    def forward(self, x):
        return self.conv(x)


def drawn(shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# PEFT (0.21) forgets the dilation, and shares B instead of A over groups.
@pytest.mark.parametrize("name", ["3x3", "strided", "uneven"])
def test_update_of_a_kernel_is_peft_s(name):
    host = Host(**LAYERS[name]).double()
    site = Site("conv", "conv", 0, 8)
    delta = low_rank(host, site, 2, 0.5, 0.0).double()
    wrapped = peft.inject_adapter_in_model(
        peft.LoraConfig(r=2, lora_alpha=1, target_modules=["conv"]), copy.deepcopy(host)
    )
    layer = wrapped.conv
    with torch.no_grad():
        delta.lora_A.copy_(drawn(delta.lora_A.shape))
        delta.lora_B.copy_(drawn(delta.lora_B.shape))
        layer.lora_A["default"].weight.copy_(delta.lora_A)
        layer.lora_B["default"].weight.copy_(delta.lora_B[..., None, None])
        x = drawn((2, 8, 9, 9))
        weight, _ = delta.fold(host.conv.weight, host.conv.bias)
        folded = nn.Conv2d._conv_forward(host.conv, x, weight, host.conv.bias)
        called = delta.call(x, host.conv)
        theirs = wrapped(x)
    # Sums of some hundred terms in float64, in another order.
    assert torch.allclose(folded, theirs, rtol=0, atol=1e-12)
    assert torch.allclose(called, theirs, rtol=0, atol=1e-12)


def test_update_that_is_called_is_the_one_that_is_folded():
    host = Host(**LAYERS["dilated"]).double()
    delta = low_rank(host, Site("conv", "conv", 0, 8), 2, 0.5, 0.0).double()
    with torch.no_grad():
        delta.lora_B.copy_(drawn(delta.lora_B.shape))
        x = drawn((2, 8, 9, 9))
        weight, bias = delta.fold(host.conv.weight, host.conv.bias)
        folded = nn.Conv2d._conv_forward(host.conv, x, weight, bias)
        assert torch.allclose(delta.call(x, host.conv), folded, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", [LoRA(rank=2), DoRA(rank=2)], ids=repr)
def test_every_kernel_has_fewer_elements_in_its_update(name, method):
    host = Host(**LAYERS[name])
    low = low_rank(host, Site("conv", "conv", 0, 8), 64, 1.0, 0.0)
    update = low.lora_A.numel() + low.lora_B.numel()
    assert update < host.conv.weight.numel()


@pytest.mark.parametrize("family", ["resnet", "efficientnet", "convnext"])
@pytest.mark.parametrize("method", [LoRA(), RepAdapter(), ConvAdapter(), DoRA()], ids=repr)
def test_stands_on_every_layer_that_it_says(family, method):
    model, x = build_host(family)
    attachment = attach(model, method, example=x, seed=0)
    modules = {e.site.path: model.get_submodule(e.site.path) for e in attachment.edits}
    inside = {
        s.path: model.get_submodule(s.path)
        for s in attachment.sites
        if s.role in ("conv", "mlp.up", "mlp.down") and ".se." not in s.path
    }
    convs = {p: m for p, m in inside.items() if isinstance(m, nn.Conv2d)}
    if isinstance(method, ConvAdapter):
        wanted = {p for p, m in convs.items() if set(m.kernel_size) != {1}}
    elif isinstance(method, RepAdapter):
        up = {s.path for s in attachment.sites if s.role == "mlp.up"}
        wanted = up or {p for p, m in convs.items() if m.groups == 1}
    else:
        wanted = set(inside)
    assert set(modules) == wanted


def test_adapter_beside_a_convolution_that_pads_by_itself():
    # timm's Conv2dSame: an even number of positions, an odd number of zeros.
    from timm.layers import Conv2dSame

    host = Host(kernel_size=3)
    host.conv = Conv2dSame(8, 8, 3, stride=2)
    adapter = ConvAdapter(reduction=2)
    (edit,) = adapter.edits(host, [Site("conv", "conv", 0, 8, layout="maps")])
    x = torch.randn(2, 8, 10, 10)
    with torch.no_grad():
        y = host(x)
        assert torch.equal(edit.adapter.leave(x, y), y)  # starts as the identity
        edit.adapter.down.zero_()
        edit.adapter.down[:, :, 1, 1] = 1.0
        edit.adapter.up.fill_(1.0)
        added = edit.adapter.leave(x, y) - y
    # One zero behind and none before: the kernel's centre reads positions 1, 3, 5, ...
    groups = x[:, :, 1::2, 1::2].unflatten(1, (4, 2)).sum(2).relu().sum(1, keepdim=True)
    assert torch.allclose(added, groups.expand_as(added), atol=1e-5)


def test_counts_of_the_card_on_resnet50():
    import timm

    with torch.device("meta"):
        model = timm.create_model("resnet50").eval()
        x = torch.zeros(2, 3, 224, 224)
        attachment = attach(model, ConvAdapter(), example=x)
    told = next(w for w in ConvAdapter.__doc__.split() if w.startswith("353,072"))
    assert f"{attachment.trainable:,}" == told.rstrip(").")


def test_a_channel_of_zeros_stays_one_under_dora_and_learns_its_length():
    # EfficientNet-Lite0's ImageNet weights have such channels: DoRA was not a number there.
    model, x = build_host("resnet")
    with torch.no_grad():
        model.layer1[0].conv1.weight[2] = 0.0
        plain = model(x)
    attachment = attach(model, DoRA(rank=2), example=x, seed=0)
    assert torch.allclose(model(x), plain, atol=1e-9)
    (delta,) = (e.delta for e in attachment.edits if e.site.path == "layer1.0.conv1")
    with torch.no_grad():
        for p in delta.low.parameters():
            p.add_(0.1)
    folded, _ = delta.fold(model.layer1[0].conv1.weight, None)
    assert not folded[2].any()
    folded[2].sum().backward()
    assert torch.isfinite(delta.m.grad).all()
    assert delta.m.grad[2]
