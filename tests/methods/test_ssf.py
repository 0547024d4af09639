"""SSF on ConvNeXt: one scale and shift that no stored tensor can absorb."""

import pytest
import torch

from foldtune.core.attach import attach
from foldtune.methods import SSF, AdaptFormer, LoRA
from foldtune.testing import build_host


def merged(model, x, method):
    attachment = attach(model, method, example=x, seed=0)
    before = model(x)
    assert attachment.mergeable
    attachment.merge()
    assert (model(x) - before).abs().max() < 1e-10
    return attachment


def test_merging_retains_one_affine_on_convnext():
    model, x = build_host("convnext")
    keys = list(model.state_dict())
    name = "foldtune_retained.SSF_stages_3_blocks_0"
    assert merged(model, x, SSF()).retained == (f"{name}.scale", f"{name}.shift")
    assert list(model.state_dict()) == [*keys, f"{name}.scale", f"{name}.shift"]


@pytest.mark.parametrize("host", ["vit", "swin", "resnet", "mixer"])
def test_merging_retains_nothing_elsewhere(host):
    model, x = build_host(host)
    assert merged(model, x, SSF()).retained == ()


def test_absorbed_pair_leaves_the_plain_keys_on_convnext():
    model, x = build_host("convnext")
    keys = list(model.state_dict())
    assert merged(model, x, SSF(absorb=True)).retained == ()
    assert list(model.state_dict()) == keys


def test_a_merged_model_takes_the_next_method():
    model, x = build_host("convnext")
    first = merged(model, x, SSF())
    plain = {k: v.clone() for k, v in model.state_dict().items()}
    attachment = attach(model, SSF(), example=x, seed=1)
    attachment.detach()
    assert all(torch.equal(v, plain[k]) for k, v in model.state_dict().items())
    second = merged(model, x, SSF())
    assert set(first.retained).isdisjoint(second.retained)
    assert {*first.retained, *second.retained} <= set(model.state_dict())


def test_a_side_network_beside_the_affine_is_not_merged():
    model, x = build_host("convnext")
    assert not attach(model, SSF() + AdaptFormer(rank=2), example=x).mergeable


def test_skipped_sites_are_left_alone():
    model, x = build_host("vit")
    edits = attach(model, SSF(skip=("norm", "blocks.0.mlp.fc1")), example=x).edits
    assert not {"norm", "blocks.0.norm1", "blocks.0.mlp.fc1"} & {e.site.path for e in edits}
    assert "blocks.1.mlp.fc1" in {e.site.path for e in edits}


def test_stacked_methods_fold_around_the_affine():
    model, x = build_host("convnext")
    assert merged(model, x, SSF() + LoRA(rank=2, targets=("mlp.up",))).retained
