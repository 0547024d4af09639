"""Adapters of the types that methods hold on PEFT's layers, both ways, against PEFT itself."""

import json

import pytest
import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftModel, PeftType, get_peft_model
from safetensors.torch import load_file, save_file

from core.tiny import distance
from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.interop import from_peft, to_peft
from foldtune.methods import catalogue, parse

from .hosts import host, logits, train

HELD = {cls.peft_type: cls for cls in catalogue().values() if hasattr(cls, "peft_type")}
# PEFT's options of an adapter on a host of 24 channels; others have defaults that fit.
MADE = {
    "BOFT": {"boft_block_size": 4}, "C3A": {"block_size": 8}, "FOURIERFT": {"n_frequency": 100},
    "LOHA": {"r": 3, "alpha": 5}, "LOKR": {"r": 2, "decompose_factor": 4}, "MISS": {"r": 6},
    "OFT": {"oft_block_size": 6}, "RANDLORA": {"r": 5, "randlora_alpha": 8},
    "ROAD": {"group_size": 8}, "SHIRA": {"r": 3, "random_seed": 5},
    "SUPERTUNING": {"sparsity": 0.95},
    "UNILORA": {"theta_d_length": 64}, "VBLORA": {"num_vectors": 6, "vector_length": 12},
    "VERA": {"r": 7, "projection_prng_key": 9}, "WAVEFT": {"n_frequency": 100},
}  # fmt: skip
# Single precision: the same products, in PEFT's forward on features, in ours on the matrix.
CLOSE = 1e-6


def made(kind, folder, **options):
    """The logits of an adapter that PEFT made, moved off its start and saved; and its images."""
    model, x = host("vit")
    config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[kind]]
    asked = {"target_modules": ["qkv", "fc1"], "modules_to_save": ["head"], **MADE.get(kind, {})}
    theirs = get_peft_model(model.float(), config(**(asked | options))).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    theirs.save_pretrained(folder)
    return logits(theirs, x.float()), x.float()


def check_read(kind, folder):
    """An adapter that PEFT made is our method; returns it, its logits by PEFT, and its images."""
    expected, x = made(kind, folder)
    fresh = host("vit")[0].float()
    assert distance(logits(fresh, x), expected) > 1e-3
    attachment = from_peft(folder, fresh, example=x)
    assert isinstance(attachment.method, HELD[kind])
    assert attachment.method.targets == ("attn.in", "mlp.up")
    assert distance(logits(attachment.model, x), expected) < CLOSE
    return attachment, expected, x


def check_goes_back(kind, folder):
    """What PEFT made is ours, and PEFT and we read what we write of it."""
    attachment, expected, x = check_read(kind, folder / "theirs")
    to_peft(attachment, folder / "ours", base="tiny")
    theirs = PeftModel.from_pretrained(host("vit")[0].float(), folder / "ours").eval()
    assert distance(logits(theirs, x), expected) < CLOSE
    again = from_peft(folder / "ours", host("vit")[0].float(), example=x)
    assert again.method == attachment.method
    assert distance(logits(again.model, x), expected) < CLOSE


# A type for each way of spelling sizes and strengths; tests/outside/test_peft_held_back.py has all.
@pytest.mark.parametrize("kind", ["LOHA", "LOKR", "OFT", "RANDLORA", "SUPERTUNING", "C3A"])
def test_what_peft_made_is_our_method(kind, tmp_path):
    check_read(kind, tmp_path)


# Shared and drawn tensors, shared ones alone, places that are kept, modules inside.
@pytest.mark.parametrize("kind", ["VERA", "UNILORA", "SHIRA", "GLORA"])
def test_it_goes_back(kind, tmp_path):
    check_goes_back(kind, tmp_path)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("SHIRA", {"random_seed": None}, "random_seed is not set, so what is drawn"),
        ("ROAD", {"variant": "road_4"}, "PEFT's variant = 'road_4', which is not read of ROAD"),
        ("HRA", {"apply_GS": True}, "PEFT's apply_GS = True"),
        ("WAVEFT", {"use_idwt": False}, "PEFT's use_idwt = False"),
        ("LOHA", {"rank_pattern": {"fc1": 4}}, "PEFT's rank_pattern"),
        ("OFT", {"r": 4, "oft_block_size": 0}, "PEFT's r = 4, which is not read of OFT"),
        ("MISS", {"init_weights": "bat"}, "init_weights = 'bat'"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(kind, options, words, tmp_path):
    made(kind, tmp_path, **options)
    model, x = host("vit")
    before = {n: p.clone() for n, p in model.state_dict().items()}
    with pytest.raises(InputError, match=words):
        from_peft(tmp_path, model, example=x)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


@pytest.fixture
def folder(tmp_path):
    """One that PEFT made, and a function that changes its tensors and configuration."""
    made("VERA", tmp_path)

    def change(tensors=(), **settings):
        path = tmp_path / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        path = tmp_path / "adapter_model.safetensors"
        held = load_file(path)
        save_file({k: t for k, t in (held | dict(tensors)).items() if t is not None}, path)
        return tmp_path

    return change


LAMBDA = "base_model.model.blocks.0.attn.qkv.vera_lambda_d"


@pytest.mark.parametrize(
    ("tensors", "settings", "words"),
    [
        ({}, {"projection_prng_key": 1}, "vera_A is not what .* draws here"),
        ({LAMBDA: torch.zeros(6)}, {}, r"vera_lambda_d is \(6,\) in the adapter and \(7,\) here"),
        ({LAMBDA: None}, {}, "vera_lambda_d is absent in the adapter"),
        (
            {LAMBDA.replace("qkv", "qxv"): torch.zeros(7)},
            {},
            "changes blocks.0.attn, which is no site",
        ),
        ({}, {"r": 1 << 19}, "its rank is 524288, and no tensor has that size"),
        ({}, {"r": 9}, r"vera_lambda_d is \(7,\) in the adapter and \(9,\) here"),
        ({}, {"r": True}, "is damaged or no PEFT config"),
    ],
)
def test_a_folder_that_is_not_what_it_says_is_refused(tensors, settings, words, folder):
    model, x = host("vit")
    with pytest.raises(InputError, match=words):
        from_peft(folder(tensors, **settings), model.float(), example=x.float())


def test_norms_come_with_it_and_back(tmp_path):
    text = "VeRA(rank=4, targets=('attn.in',)) + LayerNorm()"
    model, x = host("vit")
    attachment = train(attach(model, parse(text), example=x, seed=1))
    ours = logits(model, x)
    to_peft(attachment, tmp_path, base="tiny")
    theirs = PeftModel.from_pretrained(host("vit")[0], tmp_path).eval()
    assert distance(logits(theirs, x), ours) < CLOSE
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    save_file(tensors, tmp_path / "adapter_model.safetensors", {"format": "pt"})
    again = from_peft(tmp_path, host("vit")[0], example=x)
    assert repr(again.method) == text
    assert distance(logits(again.model, x), ours) < CLOSE


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("OFT(size=32, targets=('attn.in', 'mlp.down'))", "vit", "PEFT's one oft_block_size is"),
        ("VeRA(rank=4) + BitFit()", "vit", "it also trains"),
        ("VeRA(rank=4) + LoRA(targets=('mlp.up',))", "vit", "has no PEFT form"),
        ("HRA(rank=2)", "swinv2", "never calls it"),
        ("HRA(rank=2)", "resnet", "a plain 1x1 Conv2d"),
    ],
)
def test_what_one_configuration_of_peft_cannot_say_is_refused(text, name, words, tmp_path):
    model, x = host(name)
    attachment = attach(model, parse(text), example=x, seed=1)
    with pytest.raises(InputError, match=words):
        to_peft(attachment, tmp_path / "out", base="tiny")
    assert not (tmp_path / "out").exists()
