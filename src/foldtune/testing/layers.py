"""Situations: what is done to the layers that carry a method."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.edits import Reweight
from foldtune.core.method import Method
from foldtune.core.structure.sites import select
from foldtune.testing.tuned import Situation, attach_and_move, gradients, near, output


def _stored_weights(attachment: Attachment) -> list[tuple[nn.Module, str]]:
    edits = [e for e in attachment.edits if isinstance(e, Reweight)]
    found = [(attachment.model.get_submodule(e.site.path), str(e.site.weight)) for e in edits]
    layers: list[tuple[nn.Module, str]] = [
        (m, "weight") for m in attachment.model.modules() if type(m) is nn.Linear
    ]
    return found or layers[:2]


def written_through_the_attribute(method: Method, model: nn.Module, x: Tensor) -> None:
    """module.weight written in place (copy_, mul_, an initialiser)"""
    attachment = attach_and_move(method, model, x)
    twin = copy.deepcopy(attachment)
    with torch.no_grad():
        for (module, name), (same, _) in zip(
            _stored_weights(attachment), _stored_weights(twin), strict=True
        ):
            getattr(module, name).mul_(0.5)
            same._parameters[name].mul_(0.5)  # type: ignore[union-attr]
    near(output(model, x), output(twin.model, x))


def reassigned(method: Method, model: nn.Module, x: Tensor) -> None:
    """module.weight = nn.Parameter(module.weight.detach())"""
    attachment = attach_and_move(method, model, x)
    before = output(model, x)
    for module, name in _stored_weights(attachment):
        p = getattr(module, name)
        setattr(module, name, nn.Parameter(p.detach().clone(), p.requires_grad))
    near(output(model, x), before)


def pruned_after(method: Method, model: nn.Module, x: Tensor) -> None:
    """Pruning of a layer after attach"""
    attachment = attach_and_move(method, model, x)
    twin = copy.deepcopy(attachment)
    (module, name), (same, _) = _stored_weights(attachment)[0], _stored_weights(twin)[0]
    prune.l1_unstructured(module, name, 0.5)
    with torch.no_grad():
        same._parameters[name].mul_(getattr(module, f"{name}_mask"))  # type: ignore[union-attr]
    near(output(model, x), output(twin.model, x))


class Halved(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def parametrized_after(method: Method, model: nn.Module, x: Tensor) -> None:
    """A parametrization of a layer after attach"""
    attachment = attach_and_move(method, model, x)
    twin = copy.deepcopy(attachment)
    (module, name), (same, _) = _stored_weights(attachment)[0], _stored_weights(twin)[0]
    parametrize.register_parametrization(module, name, Halved())
    with torch.no_grad():
        same._parameters[name].mul_(0.5)  # type: ignore[union-attr]
    near(output(model, x), output(twin.model, x))


def weight_normed_before(method: Method, model: nn.Module, x: Tensor) -> None:
    """Weight norm on the first block's layers before attach"""
    block = select(attach(copy.deepcopy(model), method, example=x).sites, "block")[0]
    for module in model.get_submodule(block.path).modules():
        if type(module) is nn.Linear:
            torch.nn.utils.parametrizations.weight_norm(module)
    before = output(model, x)
    attachment = attach_and_move(method, model, x)
    assert all(g is not None for g in gradients(attachment, x))
    near(output(attachment.detach(), x), before)


LAYERS: tuple[Situation, ...] = (
    written_through_the_attribute,
    reassigned,
    pruned_after,
    parametrized_after,
    weight_normed_before,
)
