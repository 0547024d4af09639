"""`load_state_dict` on an attached model: what detach and paused go back to stays in step."""

import copy
import pickle

import pytest
import torch

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods import SSF, BitFit, DiffFit, Full, LinearProbe, LoRA
from foldtune.testing import build_host

from .tiny import shift, vit


def other(model):
    """The same network with other weights."""
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p) * 0.1)
    return twin


@pytest.mark.parametrize("classes", [None, 5, 7])
@pytest.mark.parametrize("method", [LoRA(rank=2), BitFit(), SSF() + BitFit(), LinearProbe()])
@pytest.mark.parametrize("assign", [False, True])
def test_plain_checkpoint_is_the_new_backbone(method, classes, assign):
    model, x = vit(num_classes=5)
    wanted = other(model)
    state = {k: v.clone() for k, v in wanted.state_dict().items()}
    if classes == 7:  # its classifier does not fit the new one
        state = {k: v for k, v in state.items() if not k.startswith("head")}
    attachment = attach(model, method, example=x, num_classes=classes, seed=0)
    shift(attachment)
    model.load_state_dict(state, strict=False, assign=assign)
    if classes == 7:
        wanted.head = copy.deepcopy(attachment.classifier.old["head"])
    with attachment.paused():
        assert torch.equal(model(x), wanted(x))
    detached = attachment.detach()
    assert all(torch.equal(v, wanted.state_dict()[k]) for k, v in detached.state_dict().items())


@pytest.mark.parametrize("method", [LoRA(rank=2), BitFit(), DiffFit(), Full(), LinearProbe()])
def test_own_checkpoint_leaves_the_start_as_it_was(method):
    model, x = vit()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    shift(attachment, by=0.3)
    model.load_state_dict(saved)
    assert all(torch.equal(v, saved[k]) for k, v in model.state_dict().items())
    detached = attachment.detach()
    assert all(torch.equal(v, before[k]) for k, v in detached.state_dict().items())


def test_tuned_checkpoint_of_another_backbone_is_refused_where_its_start_is_not_known():
    model, x = vit(num_classes=5)
    twin = other(model)
    shift(attach(twin, DiffFit(), example=x, seed=0))
    attachment = attach(model, DiffFit(), example=x, seed=0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=r"tuned model's of another backbone"):
        model.load_state_dict(twin.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    attachment.detach()
    assert not model._load_state_dict_pre_hooks


def test_saving_a_transformers_model_that_would_lose_the_tuning_is_refused(tmp_path):
    model, x = build_host("hf vit")
    before = sorted(vars(model))
    attachment = attach(model, LoRA(rank=2), example=x, seed=0)
    for host in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with pytest.raises(InputError, match=r"save_pretrained of ViTForImageClassification"):
            host.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    shift(attachment)
    tuned = model(x).logits
    attachment.merge().save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).double().eval()
    assert float((again(x).logits - tuned).abs().max()) < 1e-10
    assert sorted(vars(model)) == before
