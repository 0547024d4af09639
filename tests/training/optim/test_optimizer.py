import pytest
import torch
from torch import nn

from foldtune.errors import InputError
from foldtune.training.optim.optimizer import build_optimizer, parameter_groups, trainable
from foldtune.training.recipe import Recipe

from ..tiny import vit


def named(groups):
    return {name: group["weight_decay"] for group in groups for name, _ in group["params"]}


def test_gains_biases_and_the_hosts_names_do_not_decay():
    model = vit()
    decay = named(parameter_groups(model, 0.1))
    assert decay.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        free = parameter.ndim <= 1 or name in ("pos_embed", "cls_token")
        assert decay[name] == (0.0 if free else 0.1), name


def test_decay_1d_decays_everything():
    assert set(named(parameter_groups(vit(), 0.1, decay_1d=True)).values()) == {0.1}


def test_only_trainable_parameters_are_grouped():
    model = vit().requires_grad_(False)
    model.head.requires_grad_(True)
    assert set(named(parameter_groups(model, 0.1))) == {"head.weight", "head.bias"}


def test_the_classifier_has_its_own_rate_and_decays_like_all_else():
    head = {"head.weight", "head.bias"}
    groups = parameter_groups(vit(), 0.1, head=head, times=10.0)
    rates = {name: group["rate"] for group in groups for name, _ in group["params"]}
    assert {name for name, rate in rates.items() if rate == 10.0} == head
    assert set(rates.values()) == {1.0, 10.0}
    assert named(groups) == named(parameter_groups(vit(), 0.1))


@pytest.mark.parametrize("lr", [1e-4, 1e-2])
def test_the_classifiers_rate_goes_by_its_inputs_whatever_that_of_the_rest(lr):
    """A step of Adam moves a logit by the rate times the inputs: alike on all widths."""
    head = {"head.weight", "head.bias"}
    groups = build_optimizer(vit(), Recipe(lr=lr, min_lr=0.0, head_lr=1.0), head).param_groups
    peaks = {group["rate"] * lr for group in groups}
    assert sorted(peaks) == pytest.approx(sorted({lr, 1 / 16}))
    plain = build_optimizer(vit(), Recipe(lr=lr, min_lr=0.0, head_lr=None), head).param_groups
    assert {group["rate"] for group in plain} == {1.0}


def test_a_shared_parameter_is_grouped_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert list(trainable(model)) == ["0.weight", "0.bias", "1.bias"]


def test_nothing_trainable_is_refused():
    with pytest.raises(InputError, match="no trainable parameter"):
        parameter_groups(vit().requires_grad_(False), 0.1)


def test_recipe_chooses_the_optimizer():
    adamw = build_optimizer(vit(), Recipe(betas=(0.8, 0.9), weight_decay=0.3))
    assert type(adamw) is torch.optim.AdamW
    assert adamw.defaults["betas"] == (0.8, 0.9)
    assert {group["weight_decay"] for group in adamw.param_groups} == {0.0, 0.3}
    sgd = build_optimizer(vit(), Recipe(optimizer="sgd", momentum=0.5))
    assert type(sgd) is torch.optim.SGD
    assert sgd.defaults["momentum"] == 0.5


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_many_small_tensors_are_updated_in_one_call(name):
    assert build_optimizer(vit(), Recipe(optimizer=name)).defaults["fused"]
