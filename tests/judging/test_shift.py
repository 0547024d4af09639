"""Labels follow class names; what cannot occur is ruled out."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from foldtune.augment.batch import to_float
from foldtune.augment.corruptions import corrupt
from foldtune.errors import InputError
from foldtune.judging.shift import judge, logits_on, ruled_out, target_of, top1

OURS = ("cat", "dog", "sea_lion", "wolf")


def images(classes, count=12):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(count) % len(classes)
    return SimpleNamespace(pixels=pixels, labels=labels, classes=tuple(classes))


def target(classes, mapping=None):
    data = images(classes)
    return target_of("shift", data, np.arange(12), OURS, mapping)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


def prepare(batch, _generator):
    return to_float(batch, (0.5,) * 3, (0.5,) * 3)


def test_classes_are_found_by_name_in_any_order_case_and_dash():
    found = target(["Dog", "SEA-LION", "wolf", "Cat"])
    assert found.labels[:4].tolist() == [1, 2, 3, 0]
    assert found.present is None


def test_classes_that_are_absent_are_ruled_out(model):
    found = target(["wolf", "cat"])
    assert found.present == (0, 3)
    logits = logits_on(model, found, prepare)
    assert torch.isinf(logits[:, 1:3]).all()
    assert torch.isfinite(logits[:, [0, 3]]).all()
    assert set(judge(model, found, prepare)) >= {"top1", "nll", "ece"}


def test_a_mapping_renames_joins_and_leaves_out():
    found = target(
        ["husky", "poodle", "cat", "fish"], {"husky": "dog", "poodle": "dog", "fish": ""}
    )
    assert sorted(set(found.labels.tolist())) == [0, 1]
    assert len(found.rows) == 9
    assert found.present == (0, 1)


def test_a_class_without_counterpart_is_refused_with_the_cure():
    with pytest.raises(InputError, match=r"class 'fish' of shift is none of .* --map FILE"):
        target(["cat", "fish"])
    with pytest.raises(InputError, match="'fish' of shift is mapped to 'dgo', which is none"):
        target(["cat", "fish"], {"fish": "dgo"})
    with pytest.raises(InputError, match="leaves out all"):
        target(["cat", "dog"], {"cat": "", "dog": ""})


def test_home_among_the_same_classes_is_what_a_subset_is_compared_with(model):
    home, shift = target(OURS), target(["dog", "wolf"])
    same = home.among(shift.present)
    assert set(same.labels.tolist()) == {1, 3}
    assert same.present == shift.present
    assert home.among(None) is home
    with pytest.raises(InputError, match="has no image of the 1 classes"):
        same.among((0,))


def test_corrupted_targets_are_judged_on_corrupted_pixels(model):
    home = target(OURS)
    noisy = home.corrupt("gaussian_noise", 3, seed=4)
    batch = corrupt(torch.from_numpy(home.pixels), "gaussian_noise", 3, seed=4)
    by_hand = replace(home, pixels=batch.numpy())
    assert torch.equal(logits_on(model, noisy, prepare), logits_on(model, by_hand, prepare))
    assert noisy.name == "gaussian_noise:3"
    assert home.corrupt("gaussian_noise", 3).seed == 0


def test_top1_is_the_accuracy(model):
    found = target(OURS)
    assert top1(model, found, prepare) == judge(model, found, prepare)["top1"]


def test_ruling_out_keeps_the_order_of_the_rest():
    logits = torch.tensor([[3.0, 2.0, 1.0]])
    assert ruled_out(logits, (1, 2)).argmax(1).tolist() == [1]
