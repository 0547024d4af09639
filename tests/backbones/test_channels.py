"""Backbones for images of other channels than red, green and blue, and for tunings of these."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from foldtune.backbones import load, load_backbone
from foldtune.backbones.fitting import MOST, adapt_channels, spread
from foldtune.core.attach import attach
from foldtune.core.tuningfile import save
from foldtune.errors import InputError
from foldtune.methods import LoRA
from foldtune.training.host import host_logits

# float64, but for the weights' own scaling in float32 (timm adapts in float32).
NEAR = 1e-5


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A file of weights for RGB."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=5).state_dict(), path)
    return path


def logits(backbone, x):
    with torch.no_grad():
        return host_logits(backbone.model.double()(x.double()))


def test_mean_and_std_are_spread_in_turn_and_of_one_channel_are_the_mean():
    assert spread((0.1, 0.2, 0.3), 5) == (0.1, 0.2, 0.3, 0.1, 0.2)
    assert spread((0.1, 0.2, 0.6), 1) == pytest.approx((0.3,))
    assert spread((0.1, 0.2, 0.3), None) == (0.1, 0.2, 0.3)


def test_only_kernels_that_read_rgb_are_adapted():
    state = {"stem": torch.rand(2, 3, 4, 4), "other": torch.rand(2, 3, 4, 4), "bias": torch.rand(2)}
    mine = {"stem": torch.rand(2, 6, 4, 4), "other": torch.rand(5, 6, 4, 4), "bias": torch.rand(2)}
    made = adapt_channels(state, mine)
    assert made["stem"].shape == (2, 6, 4, 4)
    assert made["other"] is state["other"]
    assert made["bias"] is state["bias"]


@pytest.mark.parametrize("name", ["micro", "file"])
def test_an_image_twice_over_is_answered_as_it_is_once(name, resnet):
    given = {"name": "resnet10t", "weights": resnet} if name == "file" else {"name": "micro"}
    plain, twice = load_backbone(**given), load_backbone(**given, channels=6)
    assert twice.transform.channels == 6
    assert twice.example().shape[1] == 6
    x = plain.example()
    assert (logits(twice, torch.cat([x, x], 1)) - logits(plain, x)).abs().max() < NEAR


def test_a_grey_image_is_answered_as_the_same_in_three_channels():
    plain, grey = load_backbone("micro", size=32), load_backbone("micro", size=32, channels=1)
    x = grey.example()
    assert (logits(grey, x) - logits(plain, x.expand(-1, 3, -1, -1))).abs().max() < NEAR


def test_what_was_spread_is_told(resnet, caplog):
    load_backbone("resnet10t", weights=resnet, channels=4)
    assert "spread conv1.0.weight over 4 channels" in caplog.text


def test_lite_takes_its_published_weights_to_other_channels():
    plain, twice = load_backbone("lite0", size=32), load_backbone("lite0", size=32, channels=6)
    x = plain.example()
    assert (logits(twice, torch.cat([x, x], 1)) - logits(plain, x)).abs().max() < NEAR


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import transformers

    config = transformers.ViTConfig(
        image_size=16, patch_size=8, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48, num_labels=3,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("hf")
    transformers.ViTForImageClassification(config).save_pretrained(path)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(path)
    return path


def test_transformers_weights_are_spread_too_from_the_folder_and_from_a_file(folder, tmp_path):
    plain = load_backbone(f"hf:{folder}")
    x = plain.example()
    file = tmp_path / "own.safetensors"
    save_file(plain.model.state_dict(), file)
    for given in ({}, {"weights": folder / "model.safetensors"}, {"weights": file}):
        twice = load_backbone(f"hf:{folder}", channels=6, **given)
        answer = logits(twice, torch.cat([x, x], 1))
        assert (answer - logits(load_backbone(f"hf:{folder}"), x)).abs().max() < NEAR


def test_a_tuning_of_four_channels_rebuilds_its_backbone_and_merges_into_one(tmp_path):
    backbone = load_backbone("micro", size=16, channels=4)
    attachment = attach(backbone, LoRA(rank=2), num_classes=3, seed=0)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(0.02 * torch.randn_like(p))
    save(attachment, tmp_path / "own.safetensors")
    x = backbone.example()
    with torch.no_grad():
        tuned = backbone.model.eval()(x)
        again = load(tmp_path / "own.safetensors")
        assert torch.equal(again.model.eval()(x), tuned)
        merged = attachment.merge()
        save_file(merged.state_dict(), tmp_path / "merged.safetensors")
        opened = load_backbone(
            "micro", size=16, channels=4, weights=tmp_path / "merged.safetensors"
        )
        # float32: what merging rounds.
        assert (opened.model(x) - tuned).abs().max() < 1e-4


def test_a_plain_attach_finds_the_channels_in_the_host():
    model = load_backbone("resnet10t", pretrained=False, channels=5, size=32).model
    attachment = attach(model, LoRA(rank=1), num_classes=2)
    assert attachment.trainable > 0


@pytest.mark.parametrize("number", [0, MOST + 1])
def test_numbers_of_channels_that_no_image_has_are_refused(number):
    with pytest.raises(InputError, match=f"channels is {number}; give a number from 1 to {MOST}"):
        load_backbone("micro", channels=number)


@pytest.mark.filterwarnings("ignore:CSATv2 is designed")
def test_hosts_that_are_built_for_rgb_say_so():
    with pytest.raises(InputError, match="for red, green and blue, not for 4 channels"):
        load_backbone("open_clip:ViT-B-32", pretrained=False, channels=4)
    with pytest.raises(InputError, match=r"csatv2 does not take images of .* in 4 channels"):
        load_backbone("csatv2", pretrained=False, channels=4)
