"""What is not finite is refused where it enters and where it leaves, and nothing has changed."""

import pytest
import torch
from torch import nn

from foldtune.core.attach import attach
from foldtune.core.tensors import check_finite, whole, write
from foldtune.errors import InputError
from foldtune.methods import SSF, BitFit, DoRA, LoRA
from foldtune.methods.ssf import ScaleShift
from foldtune.testing import build_host

from .tiny import assert_untouched, shift, snapshot, vit


def test_first_wrong_tensor_is_named_with_the_cure():
    good, bad = torch.ones(3), torch.tensor([1.0, float("nan"), float("inf")])
    check_finite({"a": good, "count": torch.tensor(3)}, "the file", "make it again")
    with pytest.raises(
        InputError, match=r"^the file: b and 1 more is not finite \(2 of 3 .*again$"
    ):
        check_finite({"a": good, "b": bad, "c": bad}, "the file", "make it again")


def test_plain_tensor_is_whole_and_is_written_as_it_is():
    stored, value = nn.Parameter(torch.zeros(3)), torch.arange(3.0)
    write(stored, value)
    assert torch.equal(stored, value)
    assert whole(stored) is stored


def spoil(attachment, value, owned=True):
    name = next(n for n in attachment.named_tensors() if (n in attachment.holdings.own) == owned)
    with torch.no_grad():
        attachment.named_tensors()[name].view(-1)[0] = value


@pytest.mark.parametrize("method", [SSF(), LoRA(rank=2), DoRA(rank=2), SSF() + BitFit()])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_merging_what_is_not_finite_is_refused_and_writes_nothing(method, value):
    model, x = vit()
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    spoil(attachment, value)
    before = snapshot(model)
    with pytest.raises(InputError, match=r"cannot be merged: .* is not finite"):
        attachment.merge()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), before["values"][name].nan_to_num())
    assert type(attachment.detach().blocks[0].attn.qkv) is nn.Linear


def test_merging_what_overflows_the_stored_type_is_refused():
    model, x = vit()
    attachment = attach(model.float(), LoRA(rank=2), example=x.float(), seed=0)
    shift(attachment)
    model.half()
    with torch.no_grad():
        for name, tensor in attachment.named_tensors().items():
            if "lora" in name:
                tensor.fill_(1000.0)
    with pytest.raises(InputError, match=r"not finite .*float16 is too narrow"):
        attachment.merge()
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_tuning_that_is_not_finite_is_not_loaded():
    model, x = vit()
    attachment = attach(model, LoRA(rank=2), example=x, seed=0)
    before = snapshot(model)
    tensors = {n: t.detach().clone() for n, t in attachment.named_tensors().items()}
    next(iter(tensors.values())).fill_(float("nan"))
    with pytest.raises(InputError, match=r"cannot be loaded: .* is not finite"):
        attachment.load_tensors(tensors)
    assert_untouched(model, before)


def test_backbone_that_is_not_finite_is_refused_by_the_name_of_its_tensor():
    model, x = build_host("vit")
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight[0, 0] = float("nan")
    before = snapshot(model)
    with pytest.raises(InputError, match=r"weights of VisionTransformer: blocks.1.mlp.fc1.weight"):
        attach(model, SSF(), example=x)
    before["values"].pop("blocks.1.mlp.fc1.weight")
    now = snapshot(model)
    assert now["drawn"] == before["drawn"]
    assert now["flags"] == before["flags"]
    assert all(torch.equal(now["values"][n], t) for n, t in before["values"].items())


def test_method_that_starts_as_nan_is_refused(monkeypatch):
    model, x = vit()
    before = snapshot(model)
    monkeypatch.setattr(ScaleShift, "fold", lambda _, weight, bias: (weight * float("nan"), bias))
    with pytest.raises(InputError, match=r"SSF\(\) on \w+: the output is not finite"):
        attach(model, SSF(), example=x, seed=0)
    assert_untouched(model, before)


@pytest.mark.parametrize("classes", [None, 7])
def test_classifier_that_was_replaced_is_told_and_detach_brings_the_own_one_back(classes):
    model, x = vit(num_classes=5)
    before = snapshot(model)
    attachment = attach(model, LoRA(rank=2), example=x, num_classes=classes, seed=0)
    model.reset_classifier(3)
    model.double()
    for verb in (attachment.named_tensors, attachment.merge):
        with pytest.raises(InputError, match=r"classifier head was replaced after attach"):
            verb()
    assert_untouched(attachment.detach(), before)


def test_detach_changes_nothing_where_a_trained_tensor_is_gone():
    model, x = vit()
    attachment = attach(model, BitFit(), example=x, seed=0)
    shift(attachment)
    model.norm = nn.LayerNorm(24, bias=False).double()
    before = snapshot(model)
    with pytest.raises(InputError, match=r"norm.bias, which it trained, was replaced"):
        attachment.detach()
    assert_untouched(model, before)


def test_merge_that_cannot_write_one_tensor_has_written_none():
    model, x = vit()
    unwritable = nn.Parameter(torch.full((1, 1), 0.01).double().expand(24, 96))
    model.blocks[1].mlp.fc2.weight = unwritable
    before = snapshot(model)
    attachment = attach(model, SSF(), example=x, seed=0)
    shift(attachment)
    tuned = model(x)
    with pytest.raises(RuntimeError, match="single memory location"):
        attachment.merge()
    assert torch.equal(model(x), tuned)
    assert_untouched(attachment.detach(), before)
