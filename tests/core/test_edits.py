import collections
import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from foldtune.core import edits
from foldtune.core.attach import attach
from foldtune.core.edits import Adapter, Rewire
from foldtune.core.method import Method
from foldtune.core.structure.sites import select
from foldtune.errors import InputError
from foldtune.methods import AdaptFormer, parse

from .tiny import distance, shift, vit

Pair = collections.namedtuple("Pair", "first second")


class Doubling(Adapter):
    def leave(self, x, y):
        return 2 * y


class Entering(Adapter):
    """A side network before the module."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(24))

    def enter(self, x):
        return x + self.shift


@dataclass(frozen=True, repr=False)
class Enters(Method):
    def edits(self, model, sites):
        return [Rewire(s, Entering()) for s in select(sites, "mlp")]


@pytest.mark.parametrize("wrap", [lambda t: (t, 3), lambda t: [t, 3], lambda t: Pair(t, 3)])
def test_first_of_several_outputs_is_changed_and_their_type_kept(wrap):
    output = wrap(torch.ones(2))
    changed = Doubling().on_leave(None, (torch.zeros(2),), {}, output)
    assert type(changed) is type(output)
    assert torch.equal(changed[0], torch.full((2,), 2.0))
    assert changed[1] == 3


def test_other_arguments_pass_by():
    adapter = Entering()
    x, mask = torch.zeros(1, 24), object()
    args, kwargs = adapter.on_enter(None, (x, mask), {"scale": mask})
    assert args[1] is mask
    assert kwargs["scale"] is mask
    assert Adapter().on_enter(None, (x, mask), {}) is None


class Naming(nn.Module):
    """A host that calls its blocks by name of the argument, as transformers' DINOv3 may."""

    def __init__(self):
        super().__init__()
        self.body = vit()[0]
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = self.body.pos_drop(self.body.patch_embed(x))
        for block in self.body.blocks:
            x = block(x=x)
        return self.head(x.mean(1))


@pytest.mark.parametrize("method", ["Enters()", "Houlsby()", "AdaptFormer()", "VPTDeep(2)"])
def test_adapters_stand_at_modules_called_by_name(method):
    model, x = Naming().double().eval(), vit()[1]
    chosen = Enters() if method == "Enters()" else parse(method)
    attachment = attach(model, chosen, example=x, seed=0)
    before = model(x)
    shift(attachment)
    assert distance(model(x), before) > 0


def test_strength_scales_what_an_adapter_adds_before_the_module():
    # It was all or nothing: alpha 0.5 gave the tuned input.
    model, x = vit()
    attachment = attach(model, Enters(), example=x, seed=0)
    shift(attachment)
    seen = []
    handle = model.blocks[0].mlp.fc1.register_forward_pre_hook(lambda _m, a: seen.append(a[0]))
    for alpha in (0.0, 0.5, 1.0):
        with attachment.interpolated(alpha):
            model(x)
    handle.remove()
    assert distance(seen[1], (seen[0] + seen[2]) / 2) < 1e-12
    assert distance(seen[0], seen[2]) > 1e-3


def test_forward_pass_that_was_cut_short_leaves_the_model_copyable():
    # The tensor held between source and join is no leaf: deepcopy refused it.
    model, x = vit()
    attach(model, AdaptFormer(rank=2), example=x, seed=0)
    before = model(x)

    def stop(*_):
        raise RuntimeError("stop")

    handle = model.blocks[0].mlp.fc2.register_forward_pre_hook(stop)
    with pytest.raises(RuntimeError, match="stop"):
        model(x)
    handle.remove()
    assert torch.equal(copy.deepcopy(model)(x), before)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), before)
    assert torch.equal(model(x), before)


def test_nothing_of_a_forward_pass_is_kept(monkeypatch):
    monkeypatch.setattr(edits._sources, "given", ())  # a pass of another test may be cut short
    model, x = vit()
    attach(model, AdaptFormer(rank=2), example=x, seed=0)
    model(x)
    assert edits._sources.given == ()


def test_reentrant_checkpoint_between_source_and_joint_is_refused():
    model, x = vit()
    attach(model, AdaptFormer(rank=2), example=x, seed=0)
    block = model.blocks[1]
    inner = block.forward
    block.forward = lambda x: checkpoint(inner, x, use_reentrant=True)
    with pytest.raises(InputError, match=r"reentrant checkpoint .* use_reentrant=False"):
        model(x)
    block.forward = lambda x: checkpoint(inner, x, use_reentrant=False)
    model(x).sum().backward()
    with torch.no_grad():
        block.forward = lambda x: checkpoint(inner, x, use_reentrant=True)
        model(x)
