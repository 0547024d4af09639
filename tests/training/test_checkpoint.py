import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from foldtune.errors import InputError
from foldtune.training.batches import Data
from foldtune.training.checkpoint import (
    Training,
    identity_of,
    read_checkpoint,
    write_checkpoint,
)
from foldtune.training.optim.optimizer import build_optimizer

from .tiny import RECIPE, equal, images, vit, weights

CURVE = [{"epoch": 1, "loss": 0.1 + 0.2}]


def training(model=None, recipe=RECIPE, steps=0, seed=0, data=None):
    """The live objects after some steps on a random gradient."""
    model = model or vit()
    optimizer = build_optimizer(model, recipe)
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=draw)
        optimizer.step()
    identity = identity_of(model, Data(*(data or images())), recipe, seed)
    return Training(model, optimizer, None, identity)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "run.safetensors"


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.0}]
)
def test_weights_and_optimizer_come_back_bit_for_bit(path, options):
    recipe = replace(RECIPE, **options)
    saved = training(recipe=recipe, steps=2)
    write_checkpoint(path, saved, CURVE, 1.5)
    fresh = training(vit(seed=9), recipe)
    assert read_checkpoint(path, fresh) == (CURVE, 1.5)
    assert equal(weights(fresh.model), weights(saved.model))
    before, after = saved.optimizer.state_dict(), fresh.optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"].keys() == before["state"].keys()
    for index, state in before["state"].items():
        for key, value in state.items():
            other = after["state"][index][key]
            assert value is other is None or torch.equal(value, other)


def test_only_what_trains_is_stored(path):
    model = vit().requires_grad_(False)
    model.head.requires_grad_(True)
    write_checkpoint(path, training(model, steps=1), CURVE, 0)
    # head: 85 numbers of four bytes, three times; the frozen model has 7,000.
    assert path.stat().st_size < 85 * 4 * 3 + 2500


def test_running_statistics_come_back(path):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    model(torch.randn(8, 4))
    write_checkpoint(path, training(model), CURVE, 0)
    fresh = training(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)))
    read_checkpoint(path, fresh)
    assert equal(weights(fresh.model), weights(model))


def test_no_file_is_no_checkpoint(path):
    assert read_checkpoint(path, training()) is None


def cut(data):
    return data[: len(data) // 2]


def flip(data):
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


def flip_header(data):
    return data.replace(b"0.30000000000000004", b"0.30000000000000005")


@pytest.mark.parametrize("harm", [cut, flip, flip_header, lambda data: b"", lambda data: data[:8]])
def test_a_damaged_file_is_set_aside_with_a_warning(path, harm, caplog):
    write_checkpoint(path, training(steps=1), CURVE, 0)
    harmed = harm(path.read_bytes())
    path.write_bytes(harmed)
    fresh = training()
    before = weights(fresh.model)
    with caplog.at_level(logging.WARNING):
        assert read_checkpoint(path, fresh) is None
    assert "training starts from the beginning" in caplog.text
    assert not path.exists()
    assert (path.parent / "run.safetensors.corrupt").read_bytes() == harmed
    assert equal(weights(fresh.model), before)


def test_a_failed_write_leaves_the_old_checkpoint(path, monkeypatch):
    write_checkpoint(path, training(steps=1), CURVE, 0)
    before = path.read_bytes()

    def full(tensors, part, metadata):
        part.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("foldtune.core.tensorfile.save_file", full)
    with pytest.raises(InputError, match="no space left"):
        write_checkpoint(path, training(steps=2), CURVE, 0)
    assert path.read_bytes() == before


def other_pixels():
    pixels, labels, indices = images()
    pixels = pixels.copy()
    pixels[indices[0]] ^= 1
    return pixels, labels, indices


def other_labels():
    pixels, labels, indices = images()
    return pixels, np.roll(labels, 1), indices


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": replace(RECIPE, lr=1e-2)}, r"it has lr=0\.001, not 0\.01"),
        ({"seed": 1}, "it has seed=0, not 1"),
        ({"data": other_pixels()}, "other training data"),
        ({"data": other_labels()}, "other training data"),
        ({"model": vit(num_classes=6)}, "other trainable tensors"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_kept(path, change, message):
    write_checkpoint(path, training(steps=1), CURVE, 0)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        read_checkpoint(path, training(**change))
    assert path.read_bytes() == before


def test_a_file_that_is_no_checkpoint_is_refused_and_kept(path):
    path.parent.mkdir()
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="is no training checkpoint"):
        read_checkpoint(path, training())
    assert path.exists()
    with pytest.raises(InputError, match="is a folder"):
        read_checkpoint(path.parent, training())


def test_identity_is_json():
    identity = training().identity
    assert json.loads(json.dumps(identity)) == identity
