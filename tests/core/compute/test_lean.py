"""The lean scale and shift: the plain formula, its gradients, and what it keeps."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from foldtune import attach, load_backbone
from foldtune.core.compute import lean
from foldtune.core.compute.lean import scale_shift, scale_shift_linear
from foldtune.methods import SSF, LoRA


def _pair(channels, weak=None):
    generator = torch.Generator().manual_seed(1)
    scale = 1 + 0.1 * torch.randn(channels, generator=generator, dtype=torch.float64)
    if weak is not None:
        scale[2] = weak
    shift = 0.1 * torch.randn(channels, generator=generator, dtype=torch.float64)
    return scale.requires_grad_(), shift.requires_grad_()


def _drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("weak", [None, 1e-9, 0.0])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("with_shift", [True, False])
@pytest.mark.parametrize("images", [3, 8])  # few: the weight is folded twice; many: kept
def test_linear_gradients_are_those_of_the_formula(images, with_shift, with_bias, weak):
    scale, shift = _pair(6, weak)
    weight, bias = _drawn(6, 4), _drawn(6) if with_bias else None

    def changed(x, scale, shift):
        return scale_shift_linear(x, weight, bias, scale, shift if with_shift else None)

    x = _drawn(images, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(changed, (x, scale, shift))
    plain = scale * F.linear(x, weight, bias) + (shift if with_shift else 0)
    torch.testing.assert_close(changed(x, scale, shift), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("weak", [None, 0.0])
def test_feature_gradients_are_those_of_the_formula(weak, axis):
    scale, shift = _pair(6, weak)
    y = _drawn(2, 6, 3, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda *a: scale_shift(*a, axis), (y, scale, shift))
    assert torch.autograd.gradcheck(lambda *a: scale_shift(*a, None, axis), (y, scale))


def test_gradient_is_exact_where_the_shift_is_far_larger_than_the_scale():
    scale = torch.full((6,), 0.5, requires_grad=True)
    shift = torch.full((6,), 1e4, requires_grad=True)
    x, weight = _drawn(64, 4).float(), _drawn(6, 4).float()
    (scale_shift_linear(x, weight, None, scale, shift) ** 2).sum().backward()
    y = F.linear(x, weight).double()
    exact = (2 * (0.5 * y + 1e4) * y).sum(0)
    torch.testing.assert_close(scale.grad.double(), exact, rtol=1e-4, atol=0)


def _kept(model, images):
    """Bytes that autograd keeps, besides parameters, each storage once."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = model(images)
    del result
    return sum(size for place, size in kept.items() if place not in own)


def test_ssf_keeps_less_than_written_plainly(monkeypatch):
    backbone = load_backbone("micro", size=32)
    attach(backbone, SSF(), num_classes=4, seed=0)
    images = backbone.example(8)
    least = _kept(backbone.model, images)
    monkeypatch.setattr(lean, "_keeps_result", lambda *_: False)
    plainly = _kept(backbone.model, images)
    # Per token of width D the results of qkv (3 D) and fc1 (4 D) are no longer kept twice.
    tokens, width, depth = 17, 128, 8
    saved = 8 * tokens * 7 * width * depth * 4
    assert plainly - least >= saved


@pytest.mark.parametrize("method", [SSF(), SSF() + LoRA(rank=2), LoRA(rank=2) + SSF()], ids=repr)
def test_lean_and_plain_give_the_same_gradients(method, monkeypatch):
    backbone = load_backbone("micro", size=32)
    backbone.model.double()
    attachment = attach(backbone, method, num_classes=4, seed=0)
    images, labels = backbone.example(2).double(), torch.tensor([0, 3])

    def gradients():
        model = copy.deepcopy(attachment.model).eval()  # micro has a drop path
        F.cross_entropy(model(images), labels).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    least = gradients()
    monkeypatch.setattr(lean, "_keeps_result", lambda *_: False)
    plain = gradients()
    assert least.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(least[name], gradient, rtol=1e-9, atol=1e-12)


def test_bfloat16_autocast_keeps_its_type_and_close_gradients():
    scale, shift = _pair(6)
    scale, shift = scale.detach().float(), shift.detach().float()
    x, weight, bias = _drawn(32, 4).float(), _drawn(6, 4).float(), _drawn(6).float()

    def gradients(wanted):
        s, t = scale.clone().requires_grad_(), shift.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=wanted):
            z = scale_shift_linear(x, weight, bias, s, t)
        z.float().square().sum().backward()
        return z.dtype, s.grad, t.grad

    kind, *low = gradients(True)
    assert kind is torch.bfloat16
    for got, exact in zip(low, gradients(False)[1:], strict=True):
        torch.testing.assert_close(got, exact, rtol=0.03, atol=0.5)


class _Block(torch.nn.Module):
    """A residual block whose activation writes over what the layer before it returned."""

    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(6, 12), torch.nn.Linear(12, 6)
        self.act = torch.nn.SiLU(inplace=True)

    def forward(self, x):
        return x + self.down(self.act(self.up(x)))


class _Overwriting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(_Block(), _Block())
        self.head = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.blocks(x.flatten(1)))


def test_a_host_that_overwrites_results_gets_the_plain_gradient():
    model = _Overwriting().double()
    images = _drawn(2, 6, 1, 1)
    attachment = attach(model, SSF(), example=images, num_classes=3, head="head", seed=0)
    deltas = [e.delta for e in attachment.edits]
    assert deltas
    assert not any(delta.lean for delta in deltas)
    F.cross_entropy(model(images), torch.tensor([0, 2])).backward()
    assert all(p.grad is not None for p in attachment.parameters())


class Operations(TorchDispatchMode):
    """Counts what is launched."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "detach" not in str(func)
        return func(*args, **(kwargs or {}))


def pairs(size, scale, shift):
    return {
        who: ((torch.full((4,), scale), torch.full((4,), shift) if who % 2 else None),)
        for who in range(size)
    }


@pytest.mark.parametrize(
    ("scale", "shift", "divisible"), [(1.0, 0.0, True), (0.05, 0.0, False), (1.0, 20.0, None)]
)
def test_all_are_asked_by_few_operations(scale, shift, divisible):
    counts = []
    for size in (10, 100):
        with Operations() as seen:
            lean.ask_once(pairs(size, scale, shift))
        counts.append(seen.count)
        own = [lean.was_found(who) for who in range(size)]
        lean.forget()
        # A shift that is far larger than the scale forbids it, where there is one.
        assert own == [not who % 2 if divisible is None else divisible for who in range(size)]
    # No more than a view or two for each, which cost no launch.
    if divisible:
        assert counts[1] - counts[0] <= 2 * 90
