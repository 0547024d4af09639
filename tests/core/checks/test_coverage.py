import logging

import pytest

from foldtune.core.attach import attach
from foldtune.core.checks.coverage import coverage, shortfall, without_role
from foldtune.core.structure.finding import find_sites
from foldtune.methods import SSF, BitFit, LinearProbe, LoRA, parse
from foldtune.testing import TINY_HOSTS, build_host
from foldtune.testing.hosts import FAMILIES

from ..tiny import vit


def blind():
    """A ViT whose second block does not attend, though it has the parts for it."""
    model, x = vit()
    model.blocks[1].attn.forward = lambda x, **_: x * 0
    return model, x


@pytest.mark.parametrize("host", {**TINY_HOSTS, **FAMILIES})
def test_no_host_falls_short(host):
    model, x = build_host(host)
    assert shortfall(model, find_sites(model, x)) == ""


def test_blocks_of_the_same_parts_with_other_roles_fall_short():
    model, x = blind()
    told = shortfall(model, find_sites(model, x))
    assert told.startswith("blocks.1 and blocks.0 are of the same parts and differ in attn")


def test_attaching_warns_where_a_method_may_stand_on_a_part(caplog):
    model, x = blind()
    with caplog.at_level(logging.WARNING, "foldtune"):
        attach(model, LoRA(rank=2), example=x)
    assert "LoRA(rank=2) may stand on a part of VisionTransformer: blocks.1" in caplog.text


@pytest.mark.parametrize(
    ("method", "host", "counts"),
    [
        ("LoRA(rank=2)", "vit", {"attn.in": (2, 2)}),
        ("LoRA(rank=2, targets=('blocks.1.attn.qkv',))", "vit", {"attn.in": (1, 2)}),
        ("AdapterPlus(rank=2)", "convnext", {"block": (5, 5)}),
        ("LayerNorm()", "vit", {"norm": (5, 5)}),
        ("LinearProbe()", "vit", {}),
    ],
)
def test_coverage_counts_the_places_of_each_role(method, host, counts):
    model, x = build_host(host)
    attachment = attach(model, parse(method), example=x, seed=0)
    assert coverage(attachment.sites, attachment.edits) == counts


def test_ssf_stands_on_every_layer_of_the_blocks():
    model, x = build_host("swin")
    attachment = attach(model, SSF(), example=x, seed=0)
    found = coverage(attachment.sites, attachment.edits)
    assert all(held == there for held, there in found.values())
    assert {"attn.in", "attn.out", "mlp.up", "mlp.down", "norm"} <= set(found)


def test_layers_without_a_role_are_named():
    model, x = build_host("swinv2")
    assert without_role(find_sites(model, x))[0] == "layers.0.blocks.0.attn.cpb_mlp.0"
    assert without_role(find_sites(*build_host("vit"))) == ()


def test_methods_without_places_of_a_role_cover_none():
    model, x = build_host("vit")
    for method in (LinearProbe(), BitFit()):
        attachment = attach(model, method, example=x, seed=0)
        assert all(held for held, _ in coverage(attachment.sites, attachment.edits).values())
        attachment.detach()
