"""Situations: copies, states and what replaces a part of a model."""

from __future__ import annotations

import copy
import io

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from foldtune.core.attach import attach
from foldtune.core.method import Method
from foldtune.errors import InputError
from foldtune.testing.tuned import Situation, attach_and_move, near, output


def deepcopied(method: Method, model: nn.Module, x: Tensor) -> None:
    """copy.deepcopy"""
    attachment = attach_and_move(method, model, x)
    before = output(model, x)
    twin = copy.deepcopy(attachment)
    near(output(twin.model, x), before)
    twin.detach()
    near(output(model, x), before)


def pickled_whole(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.save and torch.load of the model"""
    attach_and_move(method, model, x)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    near(output(torch.load(file, weights_only=False), x), output(model, x))


def own_state(method: Method, model: nn.Module, x: Tensor) -> None:
    """load_state_dict of an attached model's own state"""
    fresh = copy.deepcopy(model)
    attach_and_move(method, model, x)
    attach(fresh, method, example=x, seed=0)
    fresh.load_state_dict(model.state_dict())
    near(output(fresh, x), output(model, x))


def assigned_state(method: Method, model: nn.Module, x: Tensor) -> None:
    """load_state_dict(assign=True)"""
    fresh = copy.deepcopy(model)
    attach_and_move(method, model, x)
    again = attach(fresh, method, example=x, seed=0)
    fresh.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    near(output(fresh, x), output(model, x))
    again.named_tensors()


def plain_state(method: Method, model: nn.Module, x: Tensor) -> None:
    """load_state_dict of another plain backbone after attach"""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.01)
    attachment = attach_and_move(method, model, x)
    model.load_state_dict(other.state_dict(), strict=False)
    if any(not p.requires_grad for p in model.parameters()):  # else nothing tells it from a tuning
        near(output(attachment.detach(), x), output(other, x))


def averaged(method: Method, model: nn.Module, x: Tensor) -> None:
    """An average of weights (EMA)"""
    attachment = attach_and_move(method, model, x)
    average = AveragedModel(model)
    average.update_parameters(model)
    near(output(average.module, x), output(model, x))
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(0.01)
    average.update_parameters(model)
    for (name, a), p in zip(average.module.named_parameters(), model.parameters(), strict=True):
        assert a.shape == p.shape, name


def inside_a_larger_model(method: Method, model: nn.Module, x: Tensor) -> None:
    """A part of a larger module, saved and loaded with it"""
    attach_and_move(method, model, x)
    outer = nn.ModuleDict({"backbone": model, "neck": nn.Linear(2, 2)})
    before = output(model, x)
    state = {k: v.clone() for k, v in outer.state_dict().items()}
    with torch.no_grad():
        for p in outer.parameters():
            p.mul_(1.1 if p.requires_grad else 1.0)
    outer.load_state_dict(state)
    near(output(model, x), before)


def classifier_replaced(method: Method, model: nn.Module, x: Tensor) -> None:
    """reset_classifier after attach, then merge"""
    attachment = attach_and_move(method, model, x)
    model.reset_classifier(3)  # type: ignore[operator]
    try:
        attachment.named_tensors()
        raise AssertionError("a classifier that was replaced is not noticed")
    except InputError:
        attachment.detach()
        raise


def not_finite(method: Method, model: nn.Module, x: Tensor) -> None:
    """A tuning that diverged (NaN) is loaded"""
    attachment = attach_and_move(method, model, x)
    tensors = {n: t.detach().clone() for n, t in attachment.named_tensors().items()}
    next(iter(tensors.values())).fill_(float("nan"))
    attachment.load_tensors(tensors)
    raise AssertionError("NaN was loaded")


def attached_twice(method: Method, model: nn.Module, x: Tensor) -> None:
    """A second attach"""
    attach_and_move(method, model, x)
    attach_and_move(method, model, x)
    raise AssertionError("a second attachment was taken")


STATES: tuple[Situation, ...] = (
    deepcopied,
    pickled_whole,
    own_state,
    assigned_state,
    plain_state,
    averaged,
    inside_a_larger_model,
    classifier_replaced,
    not_finite,
    attached_twice,
)
