import pytest
import timm
import torch
from torch import nn

from foldtune.core.structure.finding import find_sites
from foldtune.core.structure.head import find_head
from foldtune.core.structure.sites import ROLES, is_norm, select, stored_weight
from foldtune.errors import InputError
from foldtune.testing import TINY_HOSTS, build_host

from ..tiny import attention_host, distilled_host, random_host, vit


def table(model, x):
    """Sites by path; where a path has two (nn.MultiheadAttention), the stored one."""
    return {s.path: s for s in find_sites(model, x, find_head(model))}


def roles(model, x, prefix):
    return {
        p.removeprefix(prefix): s.role for p, s in table(model, x).items() if p.startswith(prefix)
    }


TRANSFORMER = {
    "norm1": "norm", "attn": "attn", "attn.qkv": "attn.in", "attn.proj": "attn.out",
    "norm2": "norm", "mlp": "mlp", "mlp.fc1": "mlp.up", "mlp.fc2": "mlp.down",
}  # fmt: skip


@pytest.mark.parametrize("host", ["vit", "eva02", "beit", "swin"])
def test_roles_of_a_transformer_block(host):
    model, x = build_host(host)
    block = next(s.path for s in find_sites(model, x) if s.role == "block")
    assert roles(model, x, f"{block}.") == TRANSFORMER


def test_position_mlp_of_swinv2_is_no_projection_into_attention():
    model, x = build_host("swinv2")
    position = {"attn.cpb_mlp.0": "linear", "attn.cpb_mlp.2": "linear"}
    assert roles(model, x, "layers.0.blocks.0.") == TRANSFORMER | position


def test_roles_of_a_convnext_block():
    model, x = build_host("convnext")
    assert roles(model, x, "stages.0.blocks.0.") == {
        "conv_dw": "conv", "norm": "norm", "mlp": "mlp", "mlp.fc1": "mlp.up", "mlp.fc2": "mlp.down",
    }  # fmt: skip


def test_token_mlp_of_a_mixer_is_its_attention():
    model, x = build_host("mixer")
    assert roles(model, x, "blocks.1.") == {
        "norm1": "norm", "mlp_tokens": "attn", "mlp_tokens.fc1": "attn.in",
        "mlp_tokens.fc2": "attn.out", "norm2": "norm", "mlp_channels": "mlp",
        "mlp_channels.fc1": "mlp.up", "mlp_channels.fc2": "mlp.down",
    }  # fmt: skip


def test_shortcut_convolution_of_a_resnet_is_a_conv_of_its_block():
    model, x = build_host("resnet")
    found = roles(model, x, "layer2.0.")
    assert found["downsample.0"] == "conv"
    assert set(found.values()) == {"conv", "norm"}


def test_multihead_attention_holds_both_projections():
    model, x = attention_host()
    block = "encoder.layers.encoder_layer_1"
    sites = [s for s in find_sites(model, x) if s.path.startswith(f"{block}.self_attention")]
    assert [(s.role, s.weight, s.bias, s.called) for s in sites] == [
        ("attn", None, None, True),
        ("attn.in", "in_proj_weight", "in_proj_bias", False),
        ("attn.out", "weight", "bias", False),
    ]
    assert roles(model, x, f"{block}.mlp.") == {"0": "mlp.up", "3": "mlp.down"}


@pytest.mark.parametrize("host", TINY_HOSTS)
def test_outside_the_blocks_are_stem_norms_downsampling_and_head(host):
    model, x = build_host(host)
    sites = find_sites(model, x, find_head(model))
    blocks = [s for s in sites if s.role == "block"]
    assert [s.depth for s in blocks] == list(range(len(blocks)))
    assert sites[0].role == "stem"
    assert [s.depth for s in sites if s.role == "stem"] == [-1]
    assert [(s.path, s.depth) for s in sites if s.role == "head"] == [
        (find_head(model)[0], len(blocks))
    ]
    assert all(0 <= s.depth < len(blocks) - 1 for s in sites if s.role == "downsample")


@pytest.mark.parametrize("host", [*TINY_HOSTS, "torchvision", "distilled"])
def test_every_stored_weight_is_one_site_in_order_of_the_forward_pass(host):
    special = {"torchvision": attention_host, "distilled": distilled_host}
    model, x = special[host]() if host in special else build_host(host)
    sites = find_sites(model, x, find_head(model))
    stored = [s.path for s in sites if s.weight]
    assert sorted(stored) == sorted(p for p, m in model.named_modules() if stored_weight(m))
    depths = [s.depth for s in sites]
    assert depths == sorted(depths)
    for site in sites:
        assert site.role in ROLES
        if site.weight:
            assert model.get_submodule(site.path).get_parameter(site.weight).shape[0] == (
                site.channels
            )


@pytest.mark.parametrize(
    ("host", "layouts"),
    [
        ("vit", {"block": "tokens", "mlp": "tokens", "norm": "tokens", "attn.in": "tokens"}),
        ("swin", {"block": "grid", "mlp": "tokens", "downsample": "grid"}),
        ("convnext", {"block": "maps", "mlp": "maps", "norm": "maps", "mlp.up": "maps"}),
        ("resnet", {"block": "maps", "conv": "maps", "norm": "maps", "head": "tokens"}),
    ],
)
def test_layout_says_where_the_channels_are(host, layouts):
    sites = find_sites(*build_host(host), head=("fc", "head", "head.fc"))
    for role, layout in layouts.items():
        assert {s.layout for s in sites if s.role == role} == {layout}, role


@pytest.mark.parametrize("host", ["swin", "swinv2", "hf swin"])
def test_attention_says_whether_it_sees_windows_or_the_whole_image(host):
    # The last stage has 4 x 4 positions: one window.
    layouts = [s.layout for s in find_sites(*build_host(host)) if s.role == "attn"]
    assert layouts == ["windows", "windows", "tokens"]


@pytest.mark.parametrize(("host", "last"), [("resmlp", "linear_tokens"), ("gmlp", "gate.proj")])
def test_single_matrix_over_tokens_is_a_mixers_last(host, last):
    found = [s for s in find_sites(*build_host(host)) if s.path.endswith(last)]
    assert [(s.role, s.layout) for s in found] == [("attn.out", "turned")] * 2


def test_layer_that_is_only_read_stands_where_its_owner_is_called():
    # CLIP's attention pooling was taken for a part of the stem.
    found = [s for s in find_sites(*build_host("open_clip resnet")) if "attnpool" in s.path]
    assert {(s.role, s.depth, s.called) for s in found} == {("linear", 5, False)}


def test_layout_is_told_by_class_where_sizes_are_equal():
    # The first stage has 8 positions a side and 8 channels: no size tells maps from grid.
    model, x = random_host(
        lambda: timm.create_model("convnext_atto", depths=(1,) * 4, dims=(8,) * 4, num_classes=5)
    )
    assert {s.layout for s in find_sites(model, x) if s.role == "block"} == {"maps"}
    model, x = build_host("swin")
    assert find_sites(model, x)[2].layout == "grid"


def test_feeder_is_the_norm_before_and_none_where_something_stands_between():
    model, x = build_host("vit")
    assert table(model, x)["blocks.1.mlp"].feeder == "blocks.1.norm2"
    assert table(model, x)["blocks.1.attn"].feeder == "blocks.1.norm1"
    model, x = build_host("swin")  # its grid is padded and rolled before attention
    assert table(model, x)["layers.0.blocks.0.attn"].feeder is None
    model, x = build_host("swinv2")  # norms come after
    assert table(model, x)["layers.0.blocks.0.mlp"].feeder is None


@pytest.mark.parametrize("host", ["eva02", "beit", "swinv2"])
def test_weights_read_by_the_host_are_not_called(host):
    read = [s for s in find_sites(*build_host(host)) if not s.called]
    assert {s.role for s in read} == {"attn.in"}
    assert {s.bias for s in read} == {None}


def test_bias_may_be_created_where_it_would_be_read_and_is_not_before_a_norm():
    model, x = build_host("swin")
    # Read by a norm, and by the residual stream beside it.
    assert table(model, x)["layers.1.downsample.reduction"].new_bias == "bias"
    model, x = build_host("resnet")
    assert table(model, x)["layer1.0.conv1"].new_bias is None


def test_first_block_is_not_the_tenth():
    model, x = vit(depth=12)
    sites = find_sites(model, x)
    assert [s.path for s in select(sites, "blocks.1.mlp.fc1")] == ["blocks.1.mlp.fc1"]
    assert [s.path for s in select(sites, "blocks.1")] == ["blocks.1"]
    assert len(select(sites, "mlp.up")) == 12
    assert [s.depth for s in select(sites, "block")] == list(range(12))


@pytest.mark.parametrize("name", ["blocks.1.*", "blocks.10", "BLOCK", "norm1", "", "attn.qkv"])
def test_unknown_names_are_refused_with_the_choices(name):
    sites = find_sites(*build_host("vit"))
    with pytest.raises(InputError, match=r"unknown site .*; choose from: "):
        select(sites, name)


def test_nearest_site_comes_first():
    sites = find_sites(*build_host("vit"))
    with pytest.raises(InputError, match=r"choose from: blocks\.0\.attn\.qkv"):
        select(sites, "blocks.0.attn.qvk")


def test_known_role_without_a_site_selects_nothing():
    assert select(find_sites(*build_host("resnet")), "mlp.up") == ()


def test_network_without_repeated_blocks_has_sites_all_the_same():
    # VGG was refused for LinearProbe and Full, which ask for no block.
    with torch.device("meta"):
        model, x = timm.create_model("vgg11_bn", num_classes=5).eval(), torch.zeros(2, 3, 224, 224)
        sites = find_sites(model, x, find_head(model))
    roles = [s.role for s in sites]
    assert (roles.count("stem"), roles.count("conv"), roles.count("head")) == (1, 9, 1)
    assert sites[-1].path == "head.fc"
    assert {s.depth for s in sites if s.role == "conv"} == {0}


def test_norms_are_known_by_class_and_affine():
    norms = [nn.LayerNorm(3), nn.BatchNorm2d(3), nn.GroupNorm(1, 3), timm.layers.RmsNorm(3)]
    assert all(map(is_norm, norms))
    others = [
        nn.LayerNorm(3, elementwise_affine=False),
        nn.Linear(3, 1),
        timm.layers.grn.GlobalResponseNorm(3),
        timm.layers.NormMlpClassifierHead(3, 2),
    ]
    assert not any(map(is_norm, others))
