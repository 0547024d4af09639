"""`module.weight` is the stored parameter for everybody but the host's own forward pass."""

import contextlib
import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.utils.checkpoint import checkpoint

from foldtune.core.attach import attach
from foldtune.core.compute import readers
from foldtune.errors import InputError
from foldtune.methods import SSF, LoRA
from foldtune.testing import TINY_HOSTS, build_host

from ..tiny import attention_host, distance, shift

EVERYWHERE = ("attn.in", "attn.out", "mlp.up", "mlp.down")
HOSTS = {n: (lambda n=n: build_host(n)) for n in TINY_HOSTS if n != "resnet"}
HOSTS["attention"] = attention_host


def assert_stored(model):
    for module in model.modules():
        for name, p in module._parameters.items():
            assert getattr(module, name) is p


@pytest.mark.parametrize("method", [SSF(), LoRA(rank=2, targets=EVERYWHERE)])
@pytest.mark.parametrize("host", HOSTS)
def test_attribute_is_the_stored_parameter(host, method):
    model, x = HOSTS[host]()
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    assert_stored(model)
    before = model(x)
    for module in model.modules():  # read and written back: nothing may be folded twice
        for name, p in list(module._parameters.items()):
            if p is not None:
                setattr(module, name, nn.Parameter(getattr(module, name).detach(), p.requires_grad))
    assert torch.equal(model(x), before)
    assert_stored(copy.deepcopy(model))
    attachment.detach()
    assert not any("_foldtune" in key for m in model.modules() for key in vars(m))


@pytest.mark.parametrize("host", ["vit", "eva02", "swinv2", "attention"])
def test_error_inside_a_forward_closes_the_window(host):
    model, x = HOSTS[host]()
    shift(attach(model, SSF(), example=x, seed=0))
    before = model(x)

    def fail(*_):
        raise ValueError

    for module in model.modules():
        handle = module.register_forward_pre_hook(fail)
        with contextlib.suppress(ValueError):
            model(x)
        handle.remove()
        assert readers._thread.open == ()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("host", ["vit", "eva02", "attention"])
def test_other_threads_read_the_stored_parameter(host):
    model, x = HOSTS[host]()
    shift(attach(model, SSF(), example=x, seed=0))
    done, wrong = threading.Event(), []

    def look():
        while not done.is_set():
            try:
                assert_stored(model)
            except AssertionError as error:
                wrong.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(10):
        model(x)
    done.set()
    thread.join()
    assert not wrong


@pytest.mark.parametrize("host", ["vit", "eva02", "attention"])
def test_pruning_masks_the_stored_tensor(host):
    model, x = HOSTS[host]()
    attachment = attach(model, SSF(), example=x, seed=0)
    shift(attachment)
    twin = copy.deepcopy(model)
    site = next(s for s in attachment.sites if s.role == "attn.out")
    prune.l1_unstructured(model.get_submodule(site.path), site.weight, 0.5)
    with torch.no_grad():
        mask = model.get_submodule(site.path).weight_mask
        twin.get_submodule(site.path).weight.mul_(mask)
    assert torch.equal(model(x), twin(x))


class Attention(nn.Module):
    """Reads its projection inside a function that it checkpoints itself."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.reentrant = None
        self.reads_in_training = False

    def mix(self, x):
        called = self.reads_in_training and not self.training
        qkv = self.qkv(x) if called else F.linear(x, self.qkv.weight, self.qkv.bias)
        q, k, v = qkv.chunk(3, -1)
        return self.proj(torch.softmax(q @ k.mT, -1) @ v)

    def forward(self, x):
        if self.reentrant is None:
            return self.mix(x)
        return checkpoint(self.mix, x, use_reentrant=self.reentrant)


class Host(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 5)
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def forward(self, x):
        x = self.stem(x).flatten(2).mT
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(8), Attention()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        x = x + self.attn(self.norm(x))
        return x + self.down(self.up(x).relu())


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


@pytest.mark.parametrize("host", ["vit", "eva02", "attention"])
def test_parametrization_reaches_called_layers_and_is_refused_elsewhere(host):
    model, x = HOSTS[host]()
    attachment = attach(model, SSF(), example=x, seed=0)
    shift(attachment)
    twin = copy.deepcopy(model)
    for site in attachment.sites:
        module, same = model.get_submodule(site.path), twin.get_submodule(site.path)
        before = model(x)
        if not site.weight or site.path in attachment.head:
            continue
        if site.called and isinstance(module, nn.Linear | nn.Conv2d):
            parametrize.register_parametrization(module, site.weight, Halved())
            with torch.no_grad():
                same.weight.div_(2)
            assert distance(model(x), twin(x)) < 1e-12
        elif module._parameters[site.weight].ndim:
            with pytest.raises(InputError, match="detach"):
                parametrize.register_parametrization(module, site.weight, Halved())
            assert torch.equal(model(x), before)
    assert distance(model(x), attachment.model(x)) == 0


def test_pruning_can_be_made_permanent():
    model, x = build_host("eva02")
    attachment = attach(model, SSF(), example=x, seed=0)
    site = next(s for s in attachment.sites if not s.called and s.weight)
    module = model.get_submodule(site.path)
    prune.l1_unstructured(module, site.weight, 0.5)
    pruned = model(x)
    prune.remove(module, site.weight)
    assert distance(model(x), pruned) < 1e-12
    assert_stored(model)


def test_readers_of_training_mode_alone_are_found():
    torch.manual_seed(0)
    model, x = Host().double().eval(), torch.rand(2, 3, 32, 32).double()
    for block in model.blocks:
        block.attn.reads_in_training = True
    attachment = attach(model, SSF(std=0.3), example=x, seed=0)
    use = model(x)
    assert distance(model.train()(x), use) < 1e-12
    assert not attachment.model.eval().training


@pytest.mark.parametrize("host", ["vit", "eva02"])
def test_hook_of_the_backward_pass_reads_the_stored_parameter(host):
    model, x = HOSTS[host]()
    shift(attach(model, SSF(), example=x, seed=0))
    seen = []
    for module in model.modules():
        module.register_full_backward_hook(lambda *_: seen.append(assert_stored(model)))
    model(x.requires_grad_()).sum().backward()
    assert seen


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_reads_are_folded(reentrant):
    torch.manual_seed(0)
    model, x = Host().double(), torch.rand(2, 3, 32, 32, requires_grad=True).double()
    attachment = attach(model, SSF(std=0.3), example=x.detach(), seed=0)
    grads = []
    for how in (None, reentrant):
        for block in model.blocks:
            block.attn.reentrant = how
        model.zero_grad()
        model(x).square().sum().backward()
        grads.append([p.grad.clone() for p in attachment.parameters()])
    assert all(distance(a, b) < 1e-12 for a, b in zip(*grads, strict=True))
