"""The rule for running statistics: they stay, unless the method trains the whole layer or model."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from foldtune.core.attach import attach
from foldtune.methods import parse
from foldtune.testing import build_host
from foldtune.training.host import host_logits, train_mode

from .tiny import assert_untouched, snapshot

BATCH_NORM_HOSTS = ("resnet", "efficientnet", "mobilenetv3", "open_clip resnet")
STAYS = ("SSF()", "BitFit()", "LayerNorm()", "AdapterPlus(rank=3)", "LinearProbe()")
# A method that trains every parameter moves the statistics with them, whatever stands beside it.
MOVES = ("Full()", "SSF() + Full()", "Full() + SSF()")


def trained(model, method, x):
    """Names of the statistics that a training step moved."""
    attachment = attach(model, parse(method), example=x, seed=0)
    before = {n: b.clone() for n, b in model.named_buffers() if "running_" in n}
    train_mode(model)
    optimizer = torch.optim.SGD(attachment.parameters(), lr=0.1)
    F.cross_entropy(host_logits(model(x)), torch.tensor([0, 1])).backward()
    optimizer.step()
    moved = {n for n, b in model.named_buffers() if n in before and not b.equal(before[n])}
    return attachment, moved, set(before)


@pytest.mark.parametrize("host", BATCH_NORM_HOSTS)
@pytest.mark.parametrize("method", STAYS)
def test_statistics_stay_under_small_methods(method, host):
    model, x = build_host(host)
    _, moved, there = trained(model, method, x)
    assert there
    assert not moved


@pytest.mark.parametrize("host", BATCH_NORM_HOSTS[:2])
@pytest.mark.parametrize("method", MOVES)
def test_statistics_move_with_full_tuning_and_come_back(method, host):
    # SSF() + Full() left them frozen: the computed norm ignored what Full trains.
    model, x = build_host(host)
    untouched = snapshot(model)
    attachment, moved, there = trained(model, method, x)
    assert moved == there
    model.eval()
    attachment.detach()
    assert_untouched(model, untouched)


def test_last_blocks_move_the_statistics_of_these_blocks_alone():
    model, x = build_host("resnet")
    _, moved, _ = trained(model, "LastBlocks(1)", x)
    assert moved
    assert all(n.startswith("layer4.0.") for n in moved)


def test_merging_with_moved_statistics_keeps_them_and_the_output():
    model, x = build_host("resnet")
    attachment, moved, _ = trained(model, "SSF() + Full()", x)
    model.eval()
    statistics = {n: b.clone() for n, b in model.named_buffers() if n in moved}
    logits = model(x)
    merged = attachment.merge()
    torch.testing.assert_close(merged(x), logits, atol=1e-10, rtol=0.0)
    assert all(merged.get_buffer(n).equal(b) for n, b in statistics.items())
    assert merged.bn1.train().training


@pytest.mark.parametrize("method", ["LayerNorm()", "LastBlocks(1)"])
def test_group_norm_trains_on_frozen_channels_last_maps(method):
    # torch 2.13's backward pass writes to a null pointer there and takes the process with it.
    model, x = build_host("poolformer")
    attachment = attach(model, parse(method), example=x, seed=0)
    model(x.contiguous(memory_format=torch.channels_last)).sum().backward()
    assert all(p.grad is not None for p in attachment.parameters())
    attachment.detach()
    assert not any(m._forward_pre_hooks for m in model.modules() if isinstance(m, nn.GroupNorm))
