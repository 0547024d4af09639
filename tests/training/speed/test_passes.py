"""A step in as many passes as the memory needs, with a stand-in for a device that runs out."""

import logging
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods import LoRA
from foldtune.training.device import prepare_model
from foldtune.training.loop import train
from foldtune.training.speed.memory import bound_of
from foldtune.training.speed.passes import Passes

from ..tiny import RECIPE, close, images, prepare, vit, weights

X, Y = torch.rand(10, 3, 16, 16), torch.arange(10) % 5


def host():
    model = vit(proj_drop_rate=0.0, drop_path_rate=0.0)
    attach(model, LoRA(rank=2), example=X, num_classes=5, seed=0)
    return model


@contextmanager
def small(model, largest):
    """Like a device that holds so many images at once; the sizes of all passes."""
    sizes = []

    def look(_model, args):
        sizes.append(len(args[0]))
        if len(args[0]) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = model.register_forward_pre_hook(look)
    yield sizes
    handle.remove()


def gradients(model, largest=99, **options):
    with prepare_model(model, "fp32", "cpu") as at, small(model, largest) as sizes:
        passes = Passes(model, at, F.cross_entropy, 5, **options)
        loss = passes.gradients(X, Y, model.zero_grad)
        return loss, {n: p.grad for n, p in model.named_parameters() if p.requires_grad}, sizes


def test_gradients_of_parts_are_those_of_the_whole():
    model = host()
    loss, whole, sizes = gradients(model)
    assert sizes == [10]
    parted_loss, parted, sizes = gradients(model, largest=4)
    assert sizes == [10, 5, 3, 3, 3, 1]
    torch.testing.assert_close(parted_loss, loss)
    for name, gradient in whole.items():
        torch.testing.assert_close(parted[name], gradient, rtol=1e-4, atol=1e-7)


def test_a_training_goes_on_in_smaller_passes_and_says_so(caplog):
    found = []
    for largest in (99, 5):
        model = vit(proj_drop_rate=0.0, drop_path_rate=0.0)
        attach(model, LoRA(rank=2), example=X, num_classes=5, seed=0)
        with small(model, largest) as sizes, caplog.at_level(logging.WARNING):
            train(model, *images(), RECIPE, prepare=prepare, seed=0, device="cpu")
        found.append(weights(model))
    assert close(*found)
    assert sizes[:3] == [8, 4, 4]  # the size that failed is tried once
    assert sizes.count(8) == 1
    (record,) = caplog.records
    assert "does not hold a step of 8 images at once; 4 at once" in record.message


@pytest.mark.parametrize(
    ("largest", "options", "words"),
    [(0, {}, "a step of 1 images at once: use a smaller"), (4, {"parted": False}, "one pass here")],
)
def test_what_cannot_be_parted_is_refused_with_what_to_do(largest, options, words):
    with pytest.raises(InputError, match=words):
        gradients(host(), largest, **options)


def test_a_bound_before_the_first_step_chooses_the_passes(caplog):
    model = host()
    bound = bound_of(model, X, free=0)
    room = bound.need(4)
    with caplog.at_level(logging.WARNING):
        _, _, sizes = gradients(model, free=lambda device: room)
    assert sizes == [1, 2, 4, 4, 2]  # of one and of two images it is made
    (record,) = caplog.records
    assert "a step of 10 images needs" in record.message
    assert "4 fit" in record.message
    _, _, sizes = gradients(model, free=lambda device: bound.need(10))
    assert sizes == [1, 2, 10]


def test_the_bound_is_what_autograd_keeps():
    from foldtune.core.compute.kept import kept_bytes

    model = host().train()
    bound = bound_of(model, X, free=0)
    with kept_bytes(model) as sizes:
        F.cross_entropy(model(X), Y)
    trained = 3 * sum(4 * p.numel() for p in model.parameters() if p.requires_grad)
    kept = sum(sizes.values())
    assert bound.fixed - trained + 10 * bound.each == pytest.approx(kept, rel=0.02)
    assert model.training
