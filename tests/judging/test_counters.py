"""Counting operations and activations: known shapes, and what each method may keep."""

import pytest
import torch
from torch import nn

from foldtune import attach, load_backbone
from foldtune.core.compute.kept import kept_bytes
from foldtune.errors import InputError
from foldtune.judging.counters import count
from foldtune.judging.steptime import step_over_forward
from foldtune.methods import parse
from foldtune.methods.catalogue import catalogue
from foldtune.training.speed.narrow import computed_in


class _Two(nn.Module):
    """Two linear layers on images of one pixel."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x):
        return self.second(self.first(x.flatten(1)))


def test_operations_of_linear_layers_are_two_per_weight():
    model = _Two()
    counts = count(model, torch.rand(2, 3, 1, 1))
    assert counts.forward_flops == 2 * (3 * 5 + 5 * 4)
    # Weights of both and the input of the second; the images need no gradient.
    assert counts.backward_flops == 2 * (3 * 5 + 5 * 4 + 5 * 4)


def test_frozen_weights_cost_no_gradient_of_weight_size():
    model = _Two()
    model.first.weight.requires_grad_(False)
    model.second.weight.requires_grad_(False)
    assert count(model, torch.rand(2, 3, 1, 1)).backward_flops == 2 * 5 * 4


def test_nothing_trainable_is_refused():
    with pytest.raises(InputError, match="nothing that trains"):
        count(_Two().requires_grad_(False), torch.rand(2, 3, 1, 1))


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("micro", size=32)


def _counted(backbone, text):
    attachment = attach(backbone, parse(text), num_classes=10, seed=0)
    try:
        return count(backbone.model, backbone.example(2))
    finally:
        attachment.detach()


def test_counting_leaves_the_model_alone(backbone):
    attachment = attach(backbone, parse("SSF"), num_classes=10, seed=0)
    before = {n: t.clone() for n, t in attachment.named_tensors().items()}
    backbone.model.train()
    count(backbone.model, backbone.example(2))
    assert backbone.model.training
    assert all(p.grad is None for p in backbone.model.parameters())
    assert all(torch.equal(before[n], t) for n, t in attachment.named_tensors().items())
    attachment.detach()


@pytest.fixture(scope="module")
def kept_by_full(backbone):
    return _counted(backbone, "Full").saved_bytes


# ConvAdapter has no place on ViTs; a library's layers are folded, so that a step keeps matrices,
# which are large beside the features of so small a host.
@pytest.mark.parametrize(
    "name", sorted(n for n, c in catalogue().items() if n != "ConvAdapter" and not c.library)
)
def test_no_method_keeps_more_than_full_fine_tuning(backbone, kept_by_full, name):
    assert _counted(backbone, name).saved_bytes <= kept_by_full


@pytest.mark.parametrize("name", ["BitFit", "LayerNorm", "SSF", "LoRA(rank=8)"])
def test_counted_step_is_twice_the_forward(backbone, name):
    # Beyond 2: attention's own backward has five products for its two.
    assert 1.8 < _counted(backbone, name).step_over_forward < 2.15


def test_step_time_leaves_the_tuning_alone(backbone):
    attachment = attach(backbone, parse("LoRA"), num_classes=10, seed=0)
    before = {n: t.clone() for n, t in attachment.named_tensors().items()}
    timed = step_over_forward(attachment, backbone.example(2), 2)
    assert len(timed.ratios) == 2
    assert min(timed.ratios) > 1
    assert all(torch.equal(before[n], t) for n, t in attachment.named_tensors().items())
    attachment.detach()


def test_step_time_is_that_of_the_recipe_whatever_drop_path_the_host_was_built_with(monkeypatch):
    from timm.layers import DropPath

    backbone = load_backbone("micro", size=32)
    own = [m.drop_prob for m in backbone.model.modules() if isinstance(m, DropPath)]
    assert max(own) > 0.09
    seen = []
    plainly = DropPath.forward

    def forward(self, x):
        seen.extend([self.drop_prob] * self.training)
        return plainly(self, x)

    monkeypatch.setattr(DropPath, "forward", forward)
    attachment = attach(backbone, parse("LoRA"), num_classes=10, seed=0)
    seen.clear()  # attaching tries a step as the host stands
    step_over_forward(attachment, backbone.example(2), 1)
    assert set(seen) == {0.0}
    assert [m.drop_prob for m in backbone.model.modules() if isinstance(m, DropPath)] == own


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-kept"])
def test_what_is_kept_at_a_precision_is_what_a_step_keeps(backbone, precision):
    attachment = attach(backbone, parse("LoRA(rank=4)"), num_classes=4, seed=0)
    counts = count(backbone.model, backbone.example(2), precision)
    x = backbone.example(8)
    with computed_in(backbone.model, precision, x.device), kept_bytes(backbone.model) as sizes:
        torch.nn.functional.cross_entropy(backbone.model.eval()(x), torch.zeros(8).long())
    attachment.detach()
    # Storages of a few bytes, such as the loss's, do not grow with the batch.
    assert 8 * counts.saved_bytes + counts.step_bytes == pytest.approx(
        sum(sizes.values()), rel=0.01
    )


def test_half_precision_keeps_less_and_frozen_halves_least(backbone):
    attachment = attach(backbone, parse("LoRA(rank=4)"), num_classes=4, seed=0)
    kept = {p: count(backbone.model, backbone.example(2), p)
            for p in ("fp32", "bf16", "bf16-kept")}  # fmt: skip
    attachment.detach()
    images = [counts.saved_bytes for counts in kept.values()]
    assert images == sorted(images, reverse=True)
    # Under autocast every frozen weight is kept a second time, for its gradient's way down.
    assert kept["bf16-kept"].step_bytes < 0.1 * kept["bf16"].step_bytes
