"""Convpass knows the rows and columns of patches from the patch embedding of the very pass."""

import threading

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods import Convpass, VPTDeep
from foldtune.methods.convpass import ConvBypass

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("options", "method", "words"),
    [
        ({"reg_tokens": 4}, Convpass(rank=2), "5 tokens stand before the patches"),
        ({}, VPTDeep(count=2) + Convpass(rank=2), "19 tokens for 4 x 4 patches"),
        ({"patch_drop_rate": 0.5}, Convpass(rank=2), "9 tokens for 4 x 4 patches"),
    ],
)
def test_tokens_that_are_no_grid_are_refused(options, method, words):
    settings = SMALL | options
    size = settings["img_size"]
    images = torch.rand(2, 3, *(size if isinstance(size, tuple) else (size, size)))
    with pytest.raises(InputError, match=words):
        attach(VisionTransformer(**settings), method, example=images)


def test_host_without_class_token_is_taken():
    model = VisionTransformer(**SMALL, class_token=False, global_pool="avg")
    assert attach(model, Convpass(rank=2), example=torch.rand(2, 3, 32, 32)).trainable


def random_bypass(model, images):
    attachment = attach(model, Convpass(rank=2), example=images, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.2)
    model.eval()
    return next(m for m in model.modules() if isinstance(m, ConvBypass))


def on_map(bypass, x, rows, columns):
    """What the bypass adds, computed on the image that the patches are."""
    low = bypass.down(x)
    low = low * torch.sigmoid(1.702 * low)
    image = low[:, 1:].reshape(len(x), rows, columns, -1).permute(0, 3, 1, 2)
    made = bypass.conv(image).permute(0, 2, 3, 1).flatten(1, 2)
    one = bypass.conv(low[:, :1].transpose(1, 2).unsqueeze(-1)).flatten(2).transpose(1, 2)
    made = torch.cat([one, made], 1)
    return bypass.up(made * torch.sigmoid(1.702 * made))


@pytest.mark.parametrize(("size", "rows", "columns"), [((32, 72), 4, 9), ((48, 48), 6, 6)])
def test_patches_are_the_image_that_the_embedding_made_of_it(size, rows, columns):
    # As many patches: their number tells no grid.
    model = VisionTransformer(**SMALL | {"img_size": (32, 72)}, dynamic_img_size=True)
    bypass = random_bypass(model, torch.rand(2, 3, 32, 72))
    seen = []
    model.blocks[0].attn.register_forward_hook(lambda _m, a, y: seen.append((a[0], y)))
    plain = model.blocks[0].attn.forward
    with torch.no_grad():
        model(torch.rand(2, 3, *size))
        ((x, y),) = seen
        torch.testing.assert_close(y - plain(x), on_map(bypass, x, rows, columns))


def test_two_threads_may_serve_images_of_two_grids():
    model = VisionTransformer(**SMALL | {"img_size": (32, 72)}, dynamic_img_size=True)
    random_bypass(model, torch.rand(2, 3, 32, 72))
    wide, square = torch.rand(1, 3, 32, 72), torch.rand(1, 3, 48, 48)
    wrong = []

    def serve(images):
        for _ in range(50):
            with torch.no_grad():
                if not torch.allclose(model(images), expected[id(images)], atol=1e-5):
                    wrong.append(images.shape)

    with torch.no_grad():
        expected = {id(images): model(images) for images in (wide, square)}
    threads = [threading.Thread(target=serve, args=(images,)) for images in (wide, square)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
