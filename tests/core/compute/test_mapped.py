"""Fused calls under vmap equal vmap's own, with gradients, whichever of their tensors is mapped."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, vmap

from foldtune.core.compute.mapped import Mapped

from ..tiny import vit


def draws(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [
        None if s is None else torch.randn(s, generator=generator, dtype=torch.float64)
        for s in shapes
    ]


def both(function, axes, tensors):
    """Values and gradients by vmap alone, and with the rules."""
    found = []
    for mode in (None, Mapped()):
        leaves = [None if t is None else t.clone().requires_grad_() for t in tensors]
        mapped = vmap(function, in_dims=axes)
        if mode is None:
            out = mapped(*leaves)
        else:
            with mode:
                out = mapped(*leaves)
        grads = torch.autograd.grad((out * out.cos()).sum(), [t for t in leaves if t is not None])
        with torch.no_grad(), mode or Mapped():
            again = mapped(*leaves)
        found.append([out, again, *grads])
    return found


def norm(x, weight, bias):
    return F.layer_norm(x, (4,), weight, bias, 1e-5)


@pytest.mark.parametrize(
    ("function", "axes", "shapes"),
    [
        (F.linear, (0, None, None), [(3, 2, 5, 4), (6, 4), (6,)]),
        (F.linear, (2, None, 0), [(2, 5, 3, 4), (6, 4), (3, 6)]),
        (F.linear, (0, None, 1), [(3, 2, 5, 4), (6, 4), (6, 3)]),
        (F.linear, (0, 0, None), [(3, 2, 5, 4), (3, 6, 4), (6,)]),
        (F.linear, (None, None, 0), [(2, 5, 4), (6, 4), (3, 6)]),
        (F.linear, (None, 1, 0), [(2, 5, 4), (6, 3, 4), (3, 6)]),
        (F.linear, (None, 0, None), [(5, 4), (3, 6, 4), (6,)]),
        (F.linear, (None, 0, None), [(2, 5, 4), (3, 6, 4), None]),
        (norm, (0, None, None), [(3, 2, 5, 4), (4,), (4,)]),
        (norm, (0, 0, 0), [(3, 2, 5, 4), (3, 4), (3, 4)]),
        (norm, (1, 1, None), [(2, 3, 5, 4), (4, 3), (4,)]),
        (norm, (None, 0, 1), [(2, 5, 4), (3, 4), (4, 3)]),
        (norm, (0, 0, None), [(3, 2, 5, 4), (3, 4), None]),
        (norm, (0, None, 0), [(3, 2, 5, 4), None, (3, 4)]),
        (norm, (0, None, None), [(3, 2, 5, 4), None, None]),
    ],
)
def test_rules_are_what_vmap_gives(function, axes, shapes):
    alone, fused = both(function, axes, draws(*shapes))
    for a, b in zip(alone, fused, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_several_layers_on_one_input_are_one_product():
    x, weight, bias = draws((5, 4), (3, 6, 4), (3, 6))
    with torch.autograd.profiler.profile() as profile, Mapped():
        vmap(F.linear, in_dims=(None, 0, 0))(x, weight, bias)
    found = [e.name for e in profile.function_events]
    assert found.count("aten::addmm") == 1
    assert "aten::bmm" not in found


@pytest.mark.parametrize("axes", [(0, 0, 0), (0, None, 0), (None, 1, None)])
def test_the_added_product_is_one_call(axes):
    shapes = [(5, 6), (5, 2), (2, 6)]
    mapped = [s if a is None else (*s[:a], 3, *s[a:]) for s, a in zip(shapes, axes, strict=True)]
    alone, fused = both(lambda y, a, b: torch.addmm(y, a, b, alpha=0.5), axes, draws(*mapped))
    for a, b in zip(alone, fused, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(("own", "product"), [("bias", "mm"), ("norm", "addmm")])
def test_what_each_image_has_of_its_own_costs_no_second_product_and_no_loop(own, product):
    calls = []

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    model, x = vit()
    images = x.repeat(2, 1, 1, 1)
    mapped = {n: p.expand(4, *p.shape).clone() for n, p in model.named_parameters() if own in n}

    def one(tensors, image):
        return functional_call(model, tensors, (image[None],))[0]

    with torch.no_grad(), Count(), Mapped():
        vmap(one)(mapped, images)
    layers = sum(isinstance(m, nn.Linear) for m in model.modules())
    products = [name for name in calls if name in ("mm", "addmm", "bmm")]
    assert len(products) == layers
    # The head's input is one token of each image, strided, which torch itself parts from its bias.
    assert products[:-1] == [product] * (layers - 1)
    assert "mul" not in calls  # a norm's affine is one fused operation
