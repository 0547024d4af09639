import pytest
import torch
from torch import nn

from foldtune.training.optim.average import Average, live_tensors

from ..tiny import equal, vit, weights


def moved(model):
    with torch.no_grad():
        for tensor in live_tensors(model).values():
            if tensor.is_floating_point():
                tensor.add_(1)
    return model


def test_the_average_is_its_formula():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average, expected = Average(model, 0.9), 0.0
    for step in range(1, 4):
        nn.init.constant_(model.weight, float(step))
        average.update()
        expected = 0.9 * expected + 0.1 * step
    assert average.tensors["parameter/weight"].item() == pytest.approx(expected)


def test_it_is_what_timm_computes():
    from timm.utils import ModelEmaV2

    model = vit()
    average, reference = Average(model, 0.7), ModelEmaV2(model, decay=0.7)
    for _ in range(3):
        moved(model)
        average.update()
        reference.update(model)
    average.keep()
    theirs = reference.module.state_dict()
    # a + (1 - d)(w - a) here, d a + (1 - d) w there: rounding of numbers up to 4.
    assert all(torch.allclose(v, theirs[n], atol=1e-6) for n, v in model.state_dict().items())


def test_the_live_weights_come_back_bit_for_bit():
    model = vit()
    average, start = Average(model, 0.5), weights(model)
    own = weights(moved(model))
    with average.on_model():
        assert equal(weights(model), start)
    assert equal(weights(model), own)
    with pytest.raises(RuntimeError), average.on_model():
        raise RuntimeError
    assert equal(weights(model), own)


def test_what_is_frozen_is_left_alone_and_counters_are_not_averaged():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].requires_grad_(False)
    average = Average(model, 0.5)
    assert set(average.tensors) == {
        "parameter/1.weight", "parameter/1.bias",
        "buffer/1.running_mean", "buffer/1.running_var",
    }  # fmt: skip
    model(torch.randn(4, 2))
    with average.on_model():
        assert model[1].num_batches_tracked == 1
        assert model[1].running_mean.tolist() == [0, 0]
    assert model[1].running_mean.abs().min() > 0
