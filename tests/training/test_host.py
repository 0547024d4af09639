from types import SimpleNamespace

import pytest
import torch
from torch import nn

from foldtune.core.structure.probe import eval_mode
from foldtune.errors import InputError
from foldtune.training.host import host_logits, least_images, lend_model, train_mode
from foldtune.training.recipe import Recipe


def test_a_frozen_batch_norm_keeps_its_statistics():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False))
    model.requires_grad_(False)
    train_mode(model)
    model(torch.randn(8, 4) + 3)
    assert model[1].running_mean.tolist() == [0, 0, 0, 0]
    assert model[2].running_mean.abs().min() > 0
    model[1].requires_grad_(True)
    train_mode(model)
    assert model[1].training


def test_two_images_are_needed_where_a_batch_norm_takes_their_statistics():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4))
    assert least_images(model) == 2
    model[1].requires_grad_(False)
    assert least_images(model) == 1


def test_eval_mode_gives_every_module_its_own_mode_back():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, True, False]


def test_logits_are_found_in_what_transformers_return():
    logits = torch.randn(2, 3)
    assert host_logits(logits) is logits
    assert host_logits(SimpleNamespace(logits=logits)) is logits


@pytest.mark.parametrize(
    ("output", "message"),
    [(torch.randn(2, 3, 4), r"shape \(2, 3, 4\)"), ({"features": 1}, "dict with no tensor")],
)
def test_what_is_no_logits_is_refused(output, message):
    with pytest.raises(InputError, match=message):
        host_logits(output)


@pytest.mark.parametrize(
    "activation", [nn.ReLU6, nn.Hardtanh, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Mish]
)
def test_training_copies_nothing_that_an_activation_would_overwrite(activation):
    model = nn.Sequential(nn.Linear(4, 4), activation(inplace=True))
    images = torch.randn(8, 4)

    def gradients():
        with torch.profiler.profile() as profile:
            model(images).sum().backward()
        copies = sum(event.name == "aten::clone" for event in profile.events())
        found = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        return copies, found

    overwritten, before = gradients()
    with lend_model(model, Recipe(), torch.device("cpu")):
        apart, inside = gradients()
    assert model[1].inplace
    assert apart == 0 < overwritten  # where last bits are moved, that copies as well
    assert all(torch.equal(a, b) for a, b in zip(before, inside, strict=True))
