"""Backbones of transformers and open_clip: built tiny, saved to folders and loaded by name."""

import builtins
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from foldtune.backbones import load, load_backbone
from foldtune.backbones.open_clip_models import build_clip, import_open_clip
from foldtune.core.attach import attach
from foldtune.core.tuningfile import save
from foldtune.errors import InputError
from foldtune.methods import LoRA
from foldtune.training.host import host_logits

CLIP = "open_clip:foldtune-tiny"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A transformers ViT of 7 classes with its image processor, as `save_pretrained` leaves it."""
    import transformers

    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, num_labels=7,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("hf")
    transformers.ViTForImageClassification(config).save_pretrained(path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """open_clip knows a model as small as ours from then on."""
    path = tmp_path_factory.mktemp("open_clip")
    vision = {"image_size": 32, "layers": 2, "width": 24, "head_width": 12, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    (path / "foldtune-tiny.json").write_text(json.dumps(config))
    import_open_clip().add_model_config(path)
    return path


def test_a_transformers_folder_loads_offline_with_the_transform_of_its_processor(folder):
    found = load_backbone(f"hf:{folder}")
    assert (found.source, found.weights) == ("transformers", "hub")
    assert (found.transform.size, found.transform.mean) == (32, (0.5, 0.5, 0.5))
    assert found.transform.interpolation == "bilinear"
    assert host_logits(found.model(found.example())).shape == (2, 7)


@pytest.mark.parametrize("names", ["published", "own"])
def test_transformers_weights_from_a_file(folder, tmp_path, names):
    plain = load_backbone(f"hf:{folder}")
    path = folder / "model.safetensors"
    if names == "own":  # as a merged model is written
        path = tmp_path / "own.safetensors"
        save_file(plain.model.state_dict(), path)
    found = load_backbone(f"hf:{folder}", weights=path)
    x = plain.example()
    assert torch.equal(found.model(x).logits, plain.model(x).logits)


def test_transformers_weights_that_do_not_fit_name_the_first_difference(folder, tmp_path):
    state = load_file(folder / "model.safetensors")
    del state["vit.layernorm.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"first difference is vit\.layernorm\.weight"):
        load_backbone(f"hf:{folder}", weights=tmp_path / "w.safetensors")


def test_a_size_that_the_model_cannot_take_is_refused(folder):
    with pytest.raises(InputError, match="does not take images of 64 pixels"):
        load_backbone(f"hf:{folder}", size=64)
    assert load_backbone(f"hf:{folder}", size=64, pretrained=False).transform.size == 64


@pytest.mark.parametrize("facts", [{"rescale_factor": 1.0}, {"do_flip_channel_order": True}])
def test_a_processor_that_wants_other_pixels_is_refused(folder, tmp_path, facts):
    config = json.loads((folder / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config | facts))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(InputError, match="foldtune gives"):
        load_backbone(f"hf:{tmp_path}", pretrained=False)


def test_a_folder_without_a_model_is_one_line_with_the_cure(tmp_path):
    with pytest.raises(InputError, match=r"config\.json") as refusal:
        load_backbone(f"hf:{tmp_path}")
    assert "\n" not in str(refusal.value)


def test_the_tower_has_the_keys_and_the_embedding_of_the_whole_model(clip):
    whole = build_clip(CLIP, pretrained=False, seed=3)
    found = load_backbone(CLIP, pretrained=False, seed=3)
    x = found.example()
    assert torch.equal(found.model(x), whole.encode_image(x, normalize=True))
    assert list(found.model.state_dict()) == [k for k in whole.state_dict() if "visual." in k]
    assert found.transform.resize == "crop"
    assert found.transform.mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize("holds", ["both towers", "tower", "tower and classifier"])
def test_open_clip_weights_from_a_file(clip, tmp_path, holds):
    whole = build_clip(CLIP, pretrained=False, seed=3)
    state = {k: v for k, v in whole.state_dict().items() if "visual." in k}
    if holds == "both towers":
        state = whole.state_dict()
    if holds == "tower and classifier":
        state |= {"head.weight": torch.ones(5, 16), "head.bias": torch.zeros(5)}
    save_file(state, tmp_path / "w.safetensors")
    found = load_backbone(CLIP, weights=tmp_path / "w.safetensors")
    x = found.example()
    wanted = whole.encode_image(x, normalize=True)
    if holds == "tower and classifier":
        wanted = wanted.sum(1, keepdim=True).expand(2, 5)
    torch.testing.assert_close(found.model(x), wanted)


def test_open_clip_asks_for_the_published_weights_by_name(clip):
    with pytest.raises(InputError, match="ViT-B-32/openai, or one of"):
        load_backbone("open_clip:ViT-B-32")
    with pytest.raises(
        InputError, match="unknown weights of ViT-B-32 'opnai'; choose from: openai"
    ):
        load_backbone("open_clip:ViT-B-32/opnai")
    with pytest.raises(InputError, match="unknown open_clip model 'ViT-B-33'"):
        load_backbone("open_clip:ViT-B-33", pretrained=False)


@pytest.mark.parametrize("source", ["hf", "open_clip"])
def test_a_tuning_of_another_librarys_model_finds_it_again(folder, clip, tmp_path, source):
    name = f"hf:{folder}" if source == "hf" else CLIP
    backbone = load_backbone(name, pretrained=source == "hf")
    identity = backbone.identity()
    attachment = attach(backbone, LoRA(rank=2), num_classes=3, seed=1)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(0.1)
    x = backbone.example()
    logits = host_logits(backbone.model(x))
    path = save(attachment, tmp_path / "t.safetensors", {"backbone": identity})
    assert torch.equal(host_logits(load(path).model(x)), logits)


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [("hf:any", "transformers", "transformers"), ("open_clip:any", "open_clip", "open-clip")],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, name, library, extra):
    real = builtins.__import__

    def absent(module, *args, **kwargs):
        if module == library:
            raise ImportError(f"No module named '{library}'")
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=rf"pip install foldtune\[{extra}\]"):
        load_backbone(name)
