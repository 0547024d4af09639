"""Attention is found in every block that attends, in families as they are published.

Each host was read by hand: how many attentions it has, and how many projections lead into and out
of them. On the meta device and with few blocks, since nothing here depends on values or depth.
"""

import functools

import pytest
import timm
import torch
from torch import nn

from foldtune.core.structure.attention import attention_paths
from foldtune.core.structure.finding import find_sites
from foldtune.core.structure.head import find_head
from foldtune.core.structure.probe import probe

HOSTS = {
    # name, settings: classes that attend, projections into them, out of them
    ("maxvit_pico_rw_256", ()): ("AttentionCl", 22, 22),
    ("xcit_nano_12_p16_224", (("depth", 2),)): ("XCA ClassAttn", 8, 4),
    ("mvitv2_tiny", ()): ("MultiScaleAttention", 10, 10),
    ("convit_tiny", (("depth", 3), ("local_up_to_layer", 2))): ("GPSA MHSA", 5, 3),
    ("coatnet_nano_rw_224", ()): ("Attention2d AttentionCl", 9, 9),
    ("fastvit_sa12", ()): ("Attention", 2, 2),
    ("nextvit_small", (("depths", (1, 1, 5, 1)),)): ("EfficientAttention", 9, 3),
    ("visformer_tiny", ()): ("Attention", 8, 8),
    ("vit_pwee_patch16_reg1_gap_256", (("depth", 2),)): ("ParallelScalingBlock", 2, 2),
    ("levit_128s", ()): ("Attention AttentionDownsample", 13, 11),
    ("tiny_vit_5m_224", ()): ("Attention", 10, 10),
    ("mobilevitv2_050", ()): ("LinearSelfAttention", 9, 9),  # no product of features
    ("halonet26t", ()): ("HaloAttn", 6, 0),  # q and kv; the block's last convolution follows
    ("gcresnext26ts", ()): ("", 0, 0),  # a pooled context weighs channels alone
    ("seresnet33ts", ()): ("", 0, 0),
}


@functools.cache
def built(name, settings):
    with torch.device("meta"):
        model = timm.create_model(name, **dict(settings)).eval()
        side = timm.data.resolve_model_data_config(model)["input_size"][-1]
        x = torch.zeros(2, 3, side, side)
        return model, probe(model, x), find_sites(model, x, find_head(model))


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host[0])
def test_every_attention_is_found_with_its_projections(host):
    model, calls, sites = built(*host)
    classes, into, out = HOSTS[host]
    there = [p for p, m in model.named_modules() if type(m).__name__ in classes.split()]
    assert sorted(attention_paths(model, calls)) == sorted(there)
    roles = [s.role for s in sites]
    assert (roles.count("attn.in"), roles.count("attn.out")) == (into, out)


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host[0])
def test_blocks_of_the_same_parts_have_the_same_roles(host):
    model, _, sites = built(*host)
    roles = {}
    for block in (s for s in sites if s.role == "block"):
        parts = tuple((n, type(m)) for n, m in model.get_submodule(block.path).named_modules())
        own = [
            (s.path.removeprefix(block.path), s.role)
            for s in sites
            if s.path.startswith(f"{block.path}.")
        ]
        roles.setdefault(parts, set()).add(tuple(sorted(own)))
    assert all(len(kinds) == 1 for kinds in roles.values())


def test_product_with_a_weight_is_no_attention():
    model = Mixing(lambda self, x: x @ self.fc.weight.T)
    assert attention_paths(model, probe(model, torch.rand(2, 4, 8))) == ()
    model = Mixing(lambda self, x: self.fc(x) @ x.mT @ x)
    assert attention_paths(model, probe(model, torch.rand(2, 4, 8))) == ("inner",)


class Mixing(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.inner = nn.Module()
        self.inner.fc = nn.Linear(8, 8)
        self.inner.forward = functools.partial(forward, self.inner)

    def forward(self, x):
        return self.inner(x)
