"""Methods on HF PEFT's layers, against PEFT itself with the same tensors in the same run."""

import copy
import importlib.util

import pytest
import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType, get_peft_model
from peft.tuners.boft import layer as boft_layer
from torch.utils import cpp_extension

from foldtune.core.attach import attach
from foldtune.core.structure.finding import find_sites
from foldtune.errors import InputError
from foldtune.methods import catalogue, parse
from foldtune.methods.hf_peft.held import divisor
from foldtune.methods.refusal import able
from foldtune.testing import (
    build_host,
    check_call_equals_fold,
    check_compile,
    check_save_and_load,
)
from lacking import NEEDS_NEW_COMPILER

# Small enough for hosts of 24 channels; RoAd and BOFT with several groups.
SMALL = {
    "C3A": "C3A(size=8)",
    "FourierFT": "FourierFT(count=100)",
    "RandLoRA": "RandLoRA(rank=5, alpha=8.0)",
    "RoAd": "RoAd(size=8)",
    "OFT": "OFT(size=6)",
    "SHiRA": "SHiRA(rank=3)",
    "UniLoRA": "UniLoRA(count=64)",
    "VBLoRA": "VBLoRA(count=6, length=12)",
    "VeRA": "VeRA(rank=7)",
    "WaveFT": "WaveFT(count=100)",
}
HELD = [name for name, cls in catalogue().items() if hasattr(cls, "peft_type")]
QKV = r"blocks\.\d+\.attn\.qkv"
# Single precision: the same products, in PEFT's forward on features, in ours on the matrix.
CLOSE = 1e-6


def small(name):
    return parse(SMALL.get(name, f"{name}()"))


def moved(method, dtype=torch.float64):
    """A tiny ViT with the method on it, every tensor off its start, and its images."""
    model, x = build_host("vit")
    model, x = model.to(dtype), x.to(dtype)
    plain = copy.deepcopy(model)
    attachment = attach(model, method, example=x, seed=0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p) * 0.05)
        plain.head.load_state_dict(model.head.state_dict())
    return attachment, plain, x


def over_peft(method, plain, tensors):
    """PEFT's own model of the same options on the plain host, with the tensors of ours."""
    shapes = [tuple(b.attn.qkv.weight.shape) for b in plain.blocks]
    config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[method.peft_type]]
    options = method.options(shapes if method.shares else shapes[:1])
    theirs = get_peft_model(plain, config(target_modules=QKV, **options)).eval()
    named = dict(theirs.base_model.model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, tensor in tensors.items():
            path = name.removeprefix(f"{type(method).__name__}.").replace(".layer.", ".")
            if path != name:
                named[path].copy_(tensor)
    return theirs


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("name", HELD)
def test_peft_computes_the_same_and_so_does_the_merged_model(name):
    method = small(name)
    attachment, plain, x = moved(method, torch.float32)
    keys = list(plain.state_dict())
    with torch.no_grad():
        ours, start = attachment.model(x), build_host("vit")[0].float()(x)
        assert relative(ours, start) > 1e-3
        assert relative(over_peft(method, plain, attachment.named_tensors())(x), ours) < CLOSE
        merged = attachment.merge()
        assert relative(merged(x), ours) < 1e-5
    assert list(merged.state_dict()) == keys


@pytest.mark.parametrize("name", HELD)
def test_a_tuning_comes_back(name):
    check_save_and_load(small(name), *build_host("vit"))


# One that shares, one of a product, one with an autograd function of PEFT's own.
@pytest.mark.parametrize("name", ["VBLoRA", "BOFT", pytest.param("LoHa", marks=NEEDS_NEW_COMPILER)])
def test_torch_compile_takes_the_layers_of_peft(name):
    check_compile(small(name), *build_host("vit"))


@pytest.mark.parametrize("name", ["VeRA", "BOFT", "RoAd", "SHiRA"])
def test_a_layer_that_is_never_called_is_read_through_it(name):
    model, x = build_host("swinv2")
    attachment = attach(model, small(name), example=x, seed=0)
    assert any(not e.site.called for e in attachment.edits)


def test_kernels_are_the_matrix_of_their_flattened_rows():
    model, x = build_host("resnet")
    method = parse("VeRA(rank=4, targets=('layer1.0.conv1',))")
    columns = model.layer1[0].conv1.weight[0].numel()
    delta = attach(model, method, example=x, seed=0).edits[0].delta
    assert delta.layer.in_features == columns
    check_call_equals_fold(method, *build_host("resnet"))


def test_what_is_drawn_is_not_saved_and_comes_again():
    model, x = build_host("vit")
    attachment = attach(model, parse("VeRA(rank=4, seed=3)"), example=x, seed=0)
    names = [n.rpartition(".layer.")[2] for n in attachment.holdings.own]
    assert sorted(set(names)) == ["vera_lambda_b.default", "vera_lambda_d.default"]
    assert not [k for k in model.state_dict() if "vera_A" in k]
    drawn = attachment.edits[0].delta.layer.vera_A["default"]
    twin, _ = build_host("vit")
    again = attach(twin, parse("VeRA(rank=4, seed=3)"), example=x, seed=9)
    assert torch.equal(again.edits[0].delta.layer.vera_A["default"], drawn)


def test_layers_that_share_tensors_store_them_once():
    model, x = build_host("vit")
    attachment = attach(model, small("UniLoRA"), example=x, seed=0)
    assert attachment.trainable == 64
    assert len(attachment.edits) == 2


def test_a_product_keeps_the_angles_between_rows():
    model, x = build_host("vit")
    attachment = attach(model, parse("OFT(size=6)"), example=x, seed=0)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(torch.randn_like(p))
        W = model.blocks[0].attn.qkv._parameters["weight"]
        turned, _ = attachment.edits[0].delta.fold(W, None)
        assert float((turned - W).abs().max()) > 0.1
        torch.testing.assert_close(turned @ turned.T, W @ W.T, rtol=1e-10, atol=1e-10)


def test_without_peft_the_refusal_says_what_to_install(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "peft" else found(name, *a)
    )
    model, x = build_host("vit")
    with pytest.raises(InputError, match=r"VeRA, .* pip install 'foldtune\[peft\]'"):
        attach(model, parse("VeRA"), example=x)
    assert "VeRA" not in able(model, find_sites(model, x))


def test_impossible_sizes_are_told():
    with pytest.raises(InputError, match="HRA: rank must be even"):
        parse("HRA(rank=3)")
    model, x = build_host("vit")
    with pytest.raises(InputError, match="VeRA finds none of its targets conv"):
        attach(model, parse("VeRA(targets=('conv',))"), example=x)


@pytest.mark.parametrize(("limit", "sizes", "found"), [(8, (12, 18), 6), (5, (7, 14), 1)])
def test_sizes_shrink_to_a_divisor(limit, sizes, found):
    assert divisor(limit, *sizes) == found


def test_boft_calls_no_compiler_and_leaves_the_note_of_peft_alone(monkeypatch):
    calls, known = [], boft_layer._FBD_CUDA
    monkeypatch.setattr(cpp_extension, "load", lambda *a, **k: calls.append(a))
    model, x = build_host("vit")
    attach(model, parse("BOFT()"), example=x, seed=0)
    assert calls == []
    assert boft_layer._FBD_CUDA is known
