import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from foldtune.core.compute.computed import (
    compute,
    effective,
    freeze_statistics,
    is_computed,
    release,
    set_strength,
    uses_calls,
)
from foldtune.core.compute.delta import Delta
from foldtune.methods.low_rank import LowRank
from foldtune.methods.ssf import FeatureScaleShift, ScaleShift

from ..tiny import Plus, distance


class Doubled(Delta):
    """2 W, and a bias of ones where there is none."""

    def fold(self, weight, bias):
        return 2 * weight, torch.ones_like(weight[:, 0]) if bias is None else 2 * bias


def linear(bias=True):
    torch.manual_seed(0)
    return nn.Linear(3, 4, bias=bias).double()


def test_computed_module_reads_changed_and_stores_plain():
    layer = linear()
    weight, bias = layer.weight, layer.bias
    compute(layer, [Doubled()])
    assert all(map(torch.equal, effective(layer), (2 * weight, 2 * bias)))
    assert layer.weight is layer._parameters["weight"] is weight
    assert torch.equal(layer.state_dict()["weight"], weight)
    x = torch.rand(2, 3).double()
    assert torch.equal(layer(x), F.linear(x, 2 * weight, 2 * bias))


def test_computed_module_keeps_its_class_name_and_isinstance():
    layer = linear()
    drawn = repr(layer)
    compute(layer, [Doubled()])
    assert isinstance(layer, nn.Linear)
    assert repr(layer) == drawn
    assert type(layer).__name__ == "Linear"


def test_release_puts_the_very_module_back():
    layer = linear()
    attributes, weight = dict(vars(layer)), layer.weight
    compute(layer, [Doubled()])
    assert is_computed(layer)
    release(layer)
    assert type(layer) is nn.Linear
    assert layer.weight is weight
    assert vars(layer) == attributes
    assert not is_computed(layer)


def test_computing_twice_is_refused():
    layer = linear()
    compute(layer, [Doubled()])
    with pytest.raises(ValueError, match="computed already"):
        compute(layer, [Doubled()])


def test_first_delta_is_innermost():
    layer = linear()
    weight = layer.weight
    compute(layer, [Doubled(), Plus(nn.Parameter(torch.ones(1).double()))])
    assert torch.equal(effective(layer)[0], 2 * weight + 1)


def test_reading_the_bias_alone_folds_no_weight():
    class Counting(Plus):
        folds = 0

        def fold(self, weight, bias):
            self.folds += 1
            return super().fold(weight, bias)

    layer, delta = linear(), Counting(nn.Parameter(torch.ones(1)))
    compute(layer, [delta])
    assert layer.bias is layer._parameters["bias"]
    assert delta.folds == 0


def test_strength_is_a_straight_line_between_stored_and_folded():
    layer = linear()
    weight, bias = layer.weight, layer.bias
    compute(layer, [Doubled()])
    for alpha in (0.0, 0.25, 1.0):
        set_strength(layer, alpha)
        assert distance(effective(layer)[0], (1 + alpha) * weight) < 1e-15
        assert distance(effective(layer)[1], (1 + alpha) * bias) < 1e-15


def test_new_bias_grows_from_zero_with_the_strength():
    layer = linear(bias=False)
    compute(layer, [Doubled()])
    set_strength(layer, 0.25)
    assert torch.equal(effective(layer)[1], torch.full((4,), 0.25).double())
    set_strength(layer, 0.0)
    assert effective(layer)[1] is None


def test_strength_starts_where_a_trained_tensor_started():
    layer = linear()
    start = {"weight": torch.zeros(4, 3).double(), "bias": torch.zeros(4).double()}
    folded_w, folded_b = 2 * layer.weight, 2 * layer.bias
    compute(layer, [Doubled()])
    set_strength(layer, 0.5, start)
    # Half-way W / 2 is doubled by half: each factor moves by itself, as the fixtures have it.
    assert distance(effective(layer)[0], folded_w / 2 * 0.75) < 1e-15
    assert distance(effective(layer)[1], folded_b / 2 * 0.75) < 1e-15
    set_strength(layer, 0.0, start)
    assert not effective(layer)[0].any()
    assert not effective(layer)[1].any()


def test_bias_that_no_delta_moves_still_starts_where_it_started():
    layer = linear()
    bias = layer.bias
    compute(layer, [Plus(nn.Parameter(torch.ones(1).double()))])
    set_strength(layer, 0.5, {"bias": torch.zeros(4).double()})
    assert distance(effective(layer)[1], bias / 2) < 1e-15


def test_deepcopy_and_pickle_stay_computed_and_independent():
    layer = linear()
    compute(layer, [Plus(nn.Parameter(torch.ones(1).double()))])
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(effective(twin)[0], effective(layer)[0])
        before = effective(layer)[0].clone()
        with torch.no_grad():
            twin.__dict__["_foldtune_deltas"][0].a.add_(1.0)
        assert torch.equal(effective(layer)[0], before)
        assert not torch.equal(effective(twin)[0], before)
        release(twin)
        assert type(twin) is nn.Linear


DELTAS = {
    "scale and shift": lambda: ScaleShift(4, True, 0.5),
    "low rank": lambda: LowRank((4, 3), rank=2, scale=0.5, dropout=0.0),
    "features": lambda: FeatureScaleShift(4, True, 0.5, -1),
}


@pytest.mark.parametrize("name", DELTAS)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_equal_those_of_the_folded_weight(name, bias):
    torch.manual_seed(1)
    layer, delta = linear(bias), DELTAS[name]().double()
    with torch.no_grad():
        for p in delta.parameters():
            p.add_(torch.randn_like(p))
    x = torch.rand(5, 3).double()
    wanted = torch.autograd.grad(
        F.linear(x, *delta.fold(layer.weight, layer.bias)).square().sum(), [*delta.parameters()]
    )
    compute(layer, [delta])
    found = torch.autograd.grad(layer(x).square().sum(), [*delta.parameters()])
    for a, b in zip(wanted, found, strict=True):
        assert distance(a, b) < 1e-12


@pytest.mark.parametrize(
    "host",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 6, 1, dilation=2),
    ],
)
def test_call_equals_fold_on_any_convolution(host):
    host, x = host.double(), torch.rand(2, 4, 8, 8).double()
    delta = FeatureScaleShift(6, True, 0.5, 1).double()
    wanted = host._conv_forward(x, *delta.fold(host.weight, host.bias))
    compute(host, [delta])
    assert uses_calls(host)
    assert distance(host(x), wanted) < 1e-12


def test_subclass_with_a_forward_of_its_own_is_folded():
    class Negated(nn.Linear):
        def forward(self, x):
            return -super().forward(x)

    layer, x = Negated(3, 4).double(), torch.rand(2, 3).double()
    delta = FeatureScaleShift(4, True, 0.5, -1).double()
    wanted = -F.linear(x, *delta.fold(layer.weight, layer.bias))
    compute(layer, [delta])
    assert not uses_calls(layer)
    assert distance(layer(x), wanted) < 1e-12


def test_frozen_statistics_stay_and_the_mode_asked_for_comes_back():
    norm = nn.BatchNorm2d(3).train()
    freeze_statistics(norm)
    norm.train()
    norm(torch.rand(4, 3, 2, 2))
    assert not norm.running_mean.any()
    assert not norm.training
    release(norm)
    assert norm.training
    freeze_statistics(norm)
    norm.eval()
    release(norm)
    assert not norm.training


def test_norm_without_affine_can_be_frozen():
    # Reading a weight that is not there was an AssertionError.
    norm = nn.BatchNorm2d(3, affine=False).train()
    freeze_statistics(norm)
    assert norm(torch.rand(4, 3, 2, 2)).shape == (4, 3, 2, 2)
    assert norm.weight is None


def test_delta_without_fold_says_so():
    with pytest.raises(NotImplementedError, match="Delta defines no fold"):
        Delta().fold(torch.zeros(1), None)
