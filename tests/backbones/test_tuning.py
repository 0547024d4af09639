"""A tuning may be a stranger's: what its header asks for is bounded, and contacts nobody."""

import json
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file

from foldtune.backbones import load, load_backbone
from foldtune.backbones.tuning import backbone_of
from foldtune.core.attach import attach
from foldtune.core.tuningfile import read, save
from foldtune.errors import InputError
from foldtune.methods import LoRA


@pytest.fixture(scope="module")
def tuning(tmp_path_factory):
    backbone = load_backbone("micro", size=16)
    attachment = attach(backbone, LoRA(rank=2), num_classes=3, seed=0)
    facts = {"backbone": backbone.identity(), "classes": ["a", "b", "c"]}
    return save(attachment, tmp_path_factory.mktemp("tuning") / "t.safetensors", facts)


def rewritten(tuning, path, **changes):
    """The tuning as a stranger would write it, who is free to leave the hash out."""
    header = {**read(tuning)[0], "format": 3, **changes}
    save_file(load_file(tuning), path, {"foldtune": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_classes": 10**12}, "num_classes must be a whole number from 1 to 1,048,576"),
        ({"num_classes": 10**6}, "says num_classes 1,000,000, and none of its tensors"),
        ({"method": "LoRA(rank=60000)"}, "says rank 60,000, and none of its tensors"),
        ({"method": None}, "method must be a text"),
        ({"head": {}}, "head must be a list"),
        ({"classes": [1]}, r"classes\[0\] must be a text"),
        ({"base_keys": {"a": ["b"]}}, r"base_keys.a\[0\] must be a whole number"),
        ({"backbone": {"name": "micro", "weights": "hub", "transform": None}},
         "backbone.transform must be an object"),
        ({"backbone": {"name": "micro", "weights": "hub", "transform": {"size": 10**9}}},
         "backbone.transform.size must be a whole number from 1 to 4,096"),
        ({"backbone": {"name": "micro", "weights": "hub"}}, "does not tell its backbone's transf"),
        ({"training": {"train_on": "val"}}, "training.train_on must be a list"),
    ],
)  # fmt: skip
def test_a_header_is_refused_by_field_before_anything_is_made(changes, said, tuning, tmp_path):
    path = rewritten(tuning, tmp_path / "t.safetensors", **changes)
    with pytest.raises(InputError, match=said):
        load(path)


@pytest.mark.parametrize("name", ["hf-hub:stranger/model", "hf:stranger/model", "resnet18.a1_in1k"])
def test_a_model_that_a_file_names_is_not_fetched_unasked(name, monkeypatch):
    called = []
    monkeypatch.setattr(socket.socket, "connect", lambda *where: called.append(where))
    monkeypatch.setattr(socket, "create_connection", lambda *where, **_more: called.append(where))
    facts = {"name": name, "weights": "hub", "transform": {"size": 32}}
    with pytest.raises(InputError, match=f"the file names {name}, which is not in the cache"):
        backbone_of({"backbone": facts})
    assert called == []


def test_a_tuning_whose_model_is_in_the_package_asks_nobody(tuning):
    attachment = load(tuning)
    assert torch.isfinite(attachment.model(torch.zeros(1, 3, 16, 16))).all()
