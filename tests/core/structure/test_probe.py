import collections
import dataclasses

import pytest
import torch
from torch import nn

from foldtune.core.structure.probe import eval_mode, first_tensor, probe
from foldtune.errors import InputError
from foldtune.testing import build_host

from ..tiny import assert_untouched, snapshot, vit


def test_probe_leaves_no_trace():
    model, x = build_host("resnet")
    model.train()
    model.layer1.eval()
    before, state = snapshot(model), torch.get_rng_state()
    probe(model, x)
    assert_untouched(model, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_probe_restores_the_generator_of_a_host_that_always_draws():
    model, x = vit()
    model.blocks[0].drop_path1 = DropsAlways()
    before = torch.get_rng_state()
    probe(model, x)
    assert torch.equal(torch.get_rng_state(), before)


def test_host_that_cannot_run_is_an_input_error_and_leaves_no_trace():
    model, _ = vit()
    model.train()
    before = snapshot(model)
    with pytest.raises(InputError, match=r"does not run on the example of shape \(2, 3, 48, 48\)"):
        probe(model, torch.rand(2, 3, 48, 48, dtype=torch.float64))
    assert_untouched(model, before)


def test_calls_come_in_the_order_of_entry():
    model, x = vit()
    paths = list(probe(model, x))
    assert paths[0] == ""
    assert paths.index("blocks.0") < paths.index("blocks.0.norm1") < paths.index("blocks.0.mlp.fc2")
    assert paths.index("blocks.0.mlp.fc2") < paths.index("blocks.1") < paths.index("head")


def test_first_call_counts_when_a_module_runs_twice():
    model = Twice()
    calls = probe(model, torch.ones(1, 3))
    assert torch.equal(calls["layer"].inputs, torch.ones(1, 3))


def test_evaluating_asks_no_train_method_of_the_host():
    model = Twice()
    model.train = None  # e.g. a host that merges weights in eval()
    with eval_mode(model):
        assert not model.layer.training
    assert model.layer.training


Answer = dataclasses.make_dataclass("Answer", ["loss", "logits"])
Named = collections.namedtuple("Named", "loss logits")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: (None, t),
        lambda t: [{"a": [t]}],
        lambda t: {"loss": None, "logits": t},
        lambda t: collections.OrderedDict(logits=t),
        lambda t: Named(None, t),
        lambda t: Answer(None, t),
    ],
)
def test_first_tensor_is_found_in_whatever_a_host_returns(wrap):
    tensor = torch.zeros(2)
    assert first_tensor(wrap(tensor)) is tensor


@pytest.mark.parametrize("nothing", [None, 3, "text", (), {}, Answer(None, 1), Answer])
def test_first_tensor_of_nothing_is_none(nothing):
    assert first_tensor(nothing) is None


class DropsAlways(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x) * 1e-3


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(self.layer(x))
