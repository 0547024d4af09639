"""Products of low rank: the plain formula, its gradients, and how often features are written."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from foldtune import attach, load_backbone
from foldtune.core.compute import lowrank
from foldtune.core.compute.lowrank import add_product, folded_linear, worth_folding
from foldtune.methods import ARC, AdaptFormer, Houlsby, LoRA, Pfeiffer, RepAdapter


@pytest.fixture(autouse=True)
def _small_features_count_as_large(monkeypatch):
    monkeypatch.setattr(lowrank, "_LARGE", 0)


def _drawn(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6)], ids=str)
def test_added_product_and_its_gradients_are_those_of_the_formula(shape, with_bias):
    y, low, up, bias = (
        t.requires_grad_()
        for t in (_drawn(*shape), _drawn(*shape[:-1], 2, seed=2), _drawn(6, 2), _drawn(6))
    )
    if not with_bias:
        bias = None
    plain = y + 0.3 * F.linear(low, up, bias)
    torch.testing.assert_close(add_product(y, low, up, bias, 0.3), plain, rtol=0, atol=1e-14)
    given = (y, low, up, bias) if with_bias else (y, low, up)
    assert torch.autograd.gradcheck(lambda *t: add_product(*(*t, None)[:4], 0.3), given)


@pytest.mark.parametrize("frozen", [(), (0,), (1,), (2, 3)], ids=str)
def test_what_is_frozen_gets_no_gradient_and_the_rest_keeps_its_own(frozen):
    shapes = ((3, 6), (3, 2), (6, 2), (6,))
    given = [_drawn(*s).requires_grad_(at not in frozen) for at, s in enumerate(shapes)]
    add_product(*given, scale=0.3).square().sum().backward()
    found = [t.grad for t in given]
    for t in given:
        t.grad = None
    (given[0] + 0.3 * F.linear(*given[1:])).square().sum().backward()
    for at, (got, t) in enumerate(zip(found, given, strict=True)):
        assert (got is None) == (at in frozen)
        if got is not None:
            torch.testing.assert_close(got, t.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("with_bias", [True, False])
def test_folded_product_and_its_gradients_are_those_of_the_formula(with_bias):
    x, down, up = (
        t.requires_grad_() for t in (_drawn(2, 5, 4), _drawn(2, 4, seed=2), _drawn(6, 2))
    )
    weight, bias = _drawn(6, 4, seed=3), _drawn(6) if with_bias else None
    plain = F.linear(x, weight, bias) + 0.3 * x @ down.T @ up.T
    found = folded_linear(x, weight, bias, down, up, 0.3)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(
        lambda *t: folded_linear(t[0], weight, bias, *t[1:], 0.3), (x, down, up)
    )


def test_folding_waits_for_many_rows_gradients_and_full_precision():
    weight, down, up = torch.randn(6, 4), torch.randn(2, 4).requires_grad_(), torch.randn(6, 2)
    up.requires_grad_()
    many, few = torch.randn(2, 4, 4), torch.randn(7, 4)
    assert worth_folding(many, weight, down, up)
    assert not worth_folding(few, weight, down, up)
    with torch.no_grad():
        assert not worth_folding(many, weight, down, up)
    with torch.autocast("cpu", torch.bfloat16):
        assert not worth_folding(many, weight, down, up)
    halves = [t.to(torch.bfloat16) for t in (many, weight, down, up)]
    assert not worth_folding(*halves)
    torch.set_float32_matmul_precision("high")  # TF32
    try:
        assert not worth_folding(many, weight, down, up)
        assert worth_folding(*(t.double() for t in (many, weight, down, up)))
    finally:
        torch.set_float32_matmul_precision("highest")


class _Written(TorchDispatchMode):
    """Counts the results of these shapes that stand in memory of their own: no view of an input."""

    def __init__(self, *shapes):
        super().__init__()
        self.shapes, self.count = shapes, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.shape in self.shapes:
            given = [t for t in tree_iter(args) if isinstance(t, torch.Tensor)]
            memory = made.untyped_storage().data_ptr()
            self.count += all(memory != t.untyped_storage().data_ptr() for t in given)
        return made


def _written(method, path, width, images):
    """Tensors as large as the features at `path` that a forward pass in training makes there."""
    backbone = load_backbone("micro", size=32)
    attach(backbone, method, num_classes=4, seed=0)
    x = backbone.example(images)
    given = []
    layer = backbone.model.train().get_submodule(path)
    layer.register_forward_pre_hook(lambda _, args: given.extend(args))
    backbone.model(x)
    with _Written((images, 17, width), (images * 17, width)) as written:
        layer.forward(given[0])
    return written.count


def test_lora_makes_no_tensor_beside_the_layers_own_where_the_batch_is_large():
    assert _written(LoRA(rank=2), "blocks.3.attn.qkv", 3 * 128, 32) == 1
    assert _written(LoRA(rank=2), "blocks.3.attn.qkv", 3 * 128, 2) == 2  # y, and the sum
    assert _written(LoRA(rank=2, separate="qv"), "blocks.3.attn.qkv", 3 * 128, 32) == 1


@pytest.mark.parametrize("method", [LoRA(rank=2), LoRA(rank=2, separate="vq")], ids=repr)
def test_a_large_batch_gives_the_gradients_of_its_parts(method):
    backbone = load_backbone("micro", size=32)
    backbone.model.double()
    attachment = attach(backbone, method, num_classes=4, seed=0)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(0.02 * _drawn(*p.shape, seed=3))
    x, labels = backbone.example(32).double(), torch.arange(32) % 4
    model = attachment.model.eval()  # micro has a drop path

    def gradients(size):
        model.zero_grad()
        for images, wanted in zip(x.split(size), labels.split(size), strict=True):
            F.cross_entropy(model(images), wanted, reduction="sum").backward()
        return {n: p.grad for n, p in attachment.named_tensors().items() if p.grad is not None}

    folded, plain = gradients(32), gradients(2)
    assert folded.keys() == plain.keys()
    assert len(plain) > 8
    for name, gradient in plain.items():
        torch.testing.assert_close(folded[name], gradient, rtol=1e-9, atol=1e-12)


def test_dropout_of_the_update_is_drawn_where_the_batch_is_large():
    backbone = load_backbone("micro", size=32)
    attachment = attach(backbone, LoRA(rank=2, dropout=0.5), num_classes=4, seed=0)
    qkv = backbone.model.blocks[0].attn.qkv
    with torch.no_grad():
        for name, p in attachment.named_tensors().items():
            if "lora_B" in name:
                p.normal_()
    backbone.model.train()
    x = torch.randn(32, 17, 128)
    assert not torch.equal(qkv(x), qkv(x))
    backbone.model.eval()
    assert torch.equal(qkv(x), qkv(x))


@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("method", [AdaptFormer(rank=2), Houlsby(), Pfeiffer()], ids=repr)
def test_an_adapter_joins_a_block_in_one_operation(method, grad):
    backbone = load_backbone("micro", size=32)
    adapter = attach(backbone, method, num_classes=4, seed=0).edits[3].adapter.train(grad)
    x, y = torch.randn(2, 8, 17, 128).unbind()
    with torch.set_grad_enabled(grad), _Written((8, 17, 128), (8 * 17, 128)) as written:
        adapter.leave(x, y)
    assert written.count == 1


@pytest.mark.parametrize("method", [RepAdapter(), ARC()], ids=repr)
def test_a_bottleneck_in_front_of_a_layer_joins_in_one_operation(method):
    assert _written(method, "blocks.3.attn.qkv", 128, 8) == 1
