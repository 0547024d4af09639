"""Backbones by name, from files without executing pickles, and tunings put back on them."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from foldtune.backbones import load, load_backbone
from foldtune.backbones.weights import read_state
from foldtune.core.attach import attach
from foldtune.core.tuningfile import save
from foldtune.errors import InputError
from foldtune.methods import SSF, LoRA

TINY = "test_vit"  # timm's own test model, 160 px


@pytest.mark.parametrize("size", [None, 32, 48])
def test_micro_takes_any_multiple_of_8(size):
    backbone = load_backbone("micro", size=size)
    assert backbone.pretrained
    assert backbone.model(backbone.example()).shape == (2, 200)
    assert backbone.example().shape[-1] == (size or 64)


def test_micro_refuses_other_sizes():
    with pytest.raises(InputError, match="multiples of 8, not 30"):
        load_backbone("micro", size=30)


def test_micro_is_small_in_the_package():
    from importlib.resources import files

    weights = files("foldtune.backbones") / "micro.safetensors"
    assert len(weights.read_bytes()) < 8_000_000


def test_random_weights_are_those_of_the_seed():
    one, again, other = (load_backbone("micro", pretrained=False, seed=s) for s in (1, 1, 2))
    assert one.identity() == again.identity()
    assert one.identity()["hash"] != other.identity()["hash"]
    assert not one.pretrained


def test_loading_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    load_backbone(TINY, pretrained=False)
    assert torch.equal(torch.rand(3), wanted)


def test_unknown_model_lists_the_nearest_first():
    with pytest.raises(InputError, match=r"choose from: vit_tiny_patch16_224"):
        load_backbone("vit_tny_patch16_224")


def test_a_hub_out_of_reach_is_one_line_with_the_cure(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="--no-pretrained") as refusal:
        load_backbone("vit_tiny_patch16_224")
    assert "\n" not in str(refusal.value)


def test_the_hub_path_loads_from_a_local_stand_in(tmp_path):
    import json

    plain = load_backbone(TINY, pretrained=False).model
    save_file(plain.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": TINY, "num_classes": 1000, "pretrained_cfg": plain.pretrained_cfg}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = load_backbone(f"local-dir:{tmp_path}")
    assert found.weights == "hub"
    x = found.example()
    assert torch.equal(found.model(x), plain(x))


@pytest.mark.parametrize("form", ["safetensors", "pth", "wrapped"])
def test_weights_from_a_file(tmp_path, form):
    plain = load_backbone(TINY, pretrained=False, seed=3).model
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(plain.state_dict(), path)
    else:
        torch.save({"model": plain.state_dict()} if form == "wrapped" else plain.state_dict(), path)
    found = load_backbone(TINY, weights=path)
    x = found.example()
    assert torch.equal(found.model(x), plain(x))
    assert found.weights.startswith(path.name)


def test_the_files_classifier_decides_the_classes(tmp_path):
    import timm

    plain = timm.create_model(TINY, num_classes=7)
    save_file(plain.state_dict(), tmp_path / "w.safetensors")
    found = load_backbone(TINY, weights=tmp_path / "w.safetensors")
    assert found.model(found.example()).shape == (2, 7)


def test_npz_goes_through_the_hosts_own_reader(tmp_path):
    np.savez(tmp_path / "w.npz", nothing=np.zeros(3))
    with pytest.raises(InputError, match="does not fit VisionTransformer or is damaged"):
        load_backbone("vit_tiny_patch16_224", weights=tmp_path / "w.npz")
    with pytest.raises(InputError, match="no weights at"):
        load_backbone("vit_tiny_patch16_224", weights=tmp_path / "absent.npz")


def test_a_pickle_with_code_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    with (tmp_path / "w.pth").open("wb") as file:
        pickle.dump({"state_dict": Evil()}, file, protocol=2)
    with pytest.raises(InputError, match="executing code"):
        read_state(tmp_path / "w.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_truncated_weights_are_refused(tmp_path, name):
    model = load_backbone("micro").model
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"truncated|damaged"):
        load_backbone("micro", weights=path)


def test_weights_of_another_model_name_the_first_difference(tmp_path):
    save_file(load_backbone("micro").model.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"first difference is cls_token: \(1, 1, 128\)"):
        load_backbone(TINY, weights=tmp_path / "w.safetensors")


def _saved(tmp_path, backbone, method=None, classes=3):
    attachment = attach(backbone, method or LoRA(rank=2), num_classes=classes, seed=1)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(0.1)
    x = backbone.example()
    logits = backbone.model(x)
    path = save(
        attachment, tmp_path / "t.safetensors", {"backbone": _plain_identity(attachment, backbone)}
    )
    return path, x, logits


def _plain_identity(attachment, backbone):
    import copy

    twin = copy.deepcopy(attachment)
    twin.detach()
    from dataclasses import replace

    return replace(backbone, model=twin.model).identity()


@pytest.mark.parametrize("weights", ["embedded", "random"])
def test_a_tuning_finds_its_backbone_by_itself(tmp_path, weights):
    backbone = load_backbone("micro", pretrained=weights == "embedded", size=32, seed=4)
    path, x, logits = _saved(tmp_path, backbone)
    assert torch.equal(load(path).model(x), logits)


def test_a_tuning_of_a_users_weights_asks_for_them(tmp_path):
    save_file(load_backbone("micro").model.state_dict(), tmp_path / "mine.safetensors")
    backbone = load_backbone("micro", weights=tmp_path / "mine.safetensors")
    path, x, logits = _saved(tmp_path, backbone)
    with pytest.raises(InputError, match=r"mine\.safetensors"):
        load(path)
    again = load_backbone("micro", weights=tmp_path / "mine.safetensors")
    assert torch.equal(load(path, again).model(x), logits)


def test_a_tuning_on_other_weights_is_refused_and_leaves_no_trace(tmp_path):
    path, _, _ = _saved(tmp_path, load_backbone("micro"), SSF())
    other = load_backbone("micro", pretrained=False)
    before = {k: v.clone() for k, v in other.model.state_dict().items()}
    with pytest.raises(InputError, match="other weights"):
        load(path, other)
    assert list(before) == list(other.model.state_dict())
    assert all(v.equal(before[k]) for k, v in other.model.state_dict().items())
