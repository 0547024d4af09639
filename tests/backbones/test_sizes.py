"""Images that are not square: taken where the host can, refused in one line where it cannot."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from foldtune.backbones import load, load_backbone
from foldtune.backbones.backbone import as_size, sides
from foldtune.core.attach import attach
from foldtune.core.tuningfile import save
from foldtune.errors import InputError
from foldtune.methods import LoRA


def test_equal_sides_are_one():
    assert as_size((64, 64)) == as_size([64, 64]) == 64
    assert as_size([32, 64]) == (32, 64)
    assert as_size(None) is None
    assert (sides(8), sides((8, 16))) == ((8, 8), (8, 16))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "images of 0 pixels a side are none"),
        ((8, -8), "pixels a side are none; from 1 to 4096"),
        ((8, 4097), "pixels a side are none; from 1 to 4096"),
        ((8, 8, 8), "give a side in pixels, or height and width"),
    ],
)
def test_what_is_no_size_is_refused(size, words):
    with pytest.raises(InputError, match=words):
        as_size(size)


@pytest.mark.parametrize(
    "name",
    ["micro", "vit_tiny_patch16_224", "resnet10t", "convnext_zepto_rms", "xcit_nano_12_p8_224",
     "swin_tiny_patch4_window7_224"],
)  # fmt: skip
def test_hosts_that_can_take_images_of_two_sides(name):
    backbone = load_backbone(name, size=(32, 64), pretrained=False)
    assert backbone.transform.shape == (3, 32, 64)
    with torch.no_grad():
        assert backbone.model(backbone.example()).shape[0] == 2


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        ("micro", (32, 60), "micro takes sizes that are multiples of 8, not 32 x 60"),
        ("crossvit_tiny_240", (64, 128), "does not take images of 64 x 128 pixels"),
    ],
)
def test_hosts_that_cannot_say_so(name, size, why):
    with pytest.raises(InputError, match=why):
        load_backbone(name, size=size, pretrained=False)


def test_position_embeddings_of_a_file_are_resampled_to_both_sides(tmp_path):
    torch.manual_seed(0)
    square = timm.create_model("deit_tiny_patch16_224", num_classes=3, img_size=32)
    save_file(square.state_dict(), tmp_path / "square.safetensors")
    found = load_backbone(
        "deit_tiny_patch16_224", weights=tmp_path / "square.safetensors", size=(32, 64)
    )
    own, wide = square.pos_embed[0, 1:], found.model.pos_embed[0, 1:]
    assert wide.shape[0] == 8
    # Columns in turn: two of the wide grid lie around one of the square.
    assert torch.allclose(wide.view(2, 4, -1).mean(1), own.view(2, 2, -1).mean(1), atol=0.02)


def test_a_tuning_rebuilds_its_backbone_at_both_sides(tmp_path):
    backbone = load_backbone("micro", size=(16, 32))
    attachment = attach(backbone, LoRA(rank=2), num_classes=3, seed=0)
    save(attachment, tmp_path / "own.safetensors")
    x = backbone.example()
    again = load(tmp_path / "own.safetensors")
    with torch.no_grad():
        assert torch.equal(again.model.eval()(x), backbone.model.eval()(x))
