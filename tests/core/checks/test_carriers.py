"""What cannot carry a method is refused by name before anything changed; what can, does."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from foldtune.core.attach import attach
from foldtune.core.tuningfile import save
from foldtune.errors import InputError
from foldtune.methods import SSF, AdaptFormer, BitFit, DoRA, Full, LoRA
from foldtune.testing import build_host

from ..tiny import assert_untouched, shift, snapshot, vit


class Int8(torch.Tensor):
    """A weight of 8-bit integers and a scale a row, which F.linear alone knows: as torchao's."""

    @staticmethod
    def __new__(cls, weight):
        return torch.Tensor._make_wrapper_subclass(cls, weight.shape, dtype=weight.dtype)

    def __init__(self, weight):
        self.scale = weight.abs().amax(1, keepdim=True) / 127
        self.rows = (weight / self.scale).round().to(torch.int8)

    def dequantize(self):
        return self.rows.to(self.scale.dtype) * self.scale

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is F.linear:
            return func(args[0], args[1].dequantize(), *args[2:], **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return copy.copy(args[0])
        raise NotImplementedError(f"Int8 knows no {func}")


def int8_vit():
    model, x = vit()
    for block in model.blocks:
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            layer.weight = nn.Parameter(Int8(layer.weight.detach()), requires_grad=False)
    return model, x


@pytest.mark.parametrize(
    "method", [LoRA(rank=2), LoRA(rank=2, separate="qv"), SSF(), AdaptFormer(rank=2), BitFit()]
)
def test_quantised_layers_carry_what_acts_on_features(method, tmp_path):
    model, x = int8_vit()
    before = model(x)
    attachment = attach(model, method, example=x, seed=0)
    model.train()
    model(x).square().sum().backward()
    assert all(p.grad is not None for p in attachment.parameters())
    model.eval()
    shift(attachment)
    tuned = model(x)
    save(attachment, tmp_path / "t.safetensors")
    with attachment.paused():
        assert torch.equal(model(x), before)
    assert not torch.equal(tuned, before)
    assert torch.equal(model(x), tuned)
    assert torch.equal(attachment.detach()(x), before)


def test_what_needs_the_whole_matrix_is_refused_where_it_is_quantised():
    for method, told in [
        (DoRA(rank=2), "blocks.0.attn.qkv: its weight is quantised"),
        (Full(), "trains blocks.0.attn.qkv.weight, which is quantised"),
    ]:
        model, x = int8_vit()
        before = model(x)
        with pytest.raises(InputError, match=told):
            attach(model, method, example=x)
        assert torch.equal(model(x), before)
    attachment = attach(model, LoRA(rank=2), example=x, seed=0)
    assert not attachment.mergeable
    with pytest.raises(InputError, match=r"cannot be merged: blocks.0.attn.qkv is quantised"):
        attachment.merge()
    with (
        pytest.raises(InputError, match=r"interpolated: blocks.0.attn.qkv is quantised"),
        attachment.interpolated(0.5),
    ):
        pass


def weight_normed(layer):
    parametrizations.weight_norm(layer)


def spectral_normed(layer):
    parametrizations.spectral_norm(layer)


def old_weight_normed(layer):
    weight_norm(layer)


def pruned(layer):
    prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (weight_normed, r"its weight is parametrized \(_WeightNorm\)"),
        (spectral_normed, r"its weight is parametrized \(_SpectralNorm\)"),
        (old_weight_normed, "its weight is computed by somebody else already"),
        (pruned, "its weight is pruned; make that permanent"),
    ],
)
def test_layer_whose_weight_is_somebody_elses_is_refused_by_name(change, told):
    model, x = vit()
    change(model.blocks[1].attn.qkv)
    before = model(x)
    for method in (LoRA(rank=2), SSF(), DoRA(rank=2)):
        with pytest.raises(InputError, match=rf"cannot stand at blocks.1.attn.qkv: {told}"):
            attach(model, method, example=x)
        assert torch.equal(model(x), before)
    attachment = attach(model, AdaptFormer(rank=2), example=x, seed=0)  # it stands beside
    assert torch.equal(attachment.detach()(x), before)


def in_inference_mode(model):
    with torch.inference_mode():
        model.blocks[1] = copy.deepcopy(model.blocks[1])
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda m: torch.compile(m, backend="eager"), "attach to the plain model"),
        (nn.DataParallel, "attach to model.module"),
        (lambda m: nn.Sequential(m), "bare nn.Sequential"),
        (in_inference_mode, "blocks.1.norm1.weight was made in inference mode"),
        (
            lambda m: torch.ao.quantization.quantize_dynamic(m, {nn.Linear}, dtype=torch.qint8),
            "blocks.0.attn.qkv is a Linear of dynamic quantisation",
        ),
    ],
)
def test_model_that_is_wrapped_or_cannot_train_is_refused_with_the_cure(wrap, told):
    model, x = build_host("vit")
    wrapped = wrap(model.float())
    before = snapshot(model) if told[0] == "a" or "bare" in told else None
    with pytest.raises(InputError, match=told):
        attach(wrapped, LoRA(rank=2), example=x.float(), head="head")
    if before:
        assert_untouched(model, before)


def test_compiled_block_is_refused_by_its_path():
    model, x = vit()
    model.blocks[1] = torch.compile(model.blocks[1], backend="eager")
    with pytest.raises(
        InputError, match=r"cannot attach: blocks.1 of VisionTransformer is compiled"
    ):
        attach(model, LoRA(rank=2), example=x)


def test_model_compiled_in_place_is_refused():
    model, x = vit()
    model.compile(backend="eager")
    with pytest.raises(InputError, match=r"compiled by torch.compile, which does not notice"):
        attach(model, LoRA(rank=2), example=x)


def test_method_without_any_place_is_refused():
    class Nowhere(LoRA):
        def edits(self, model, sites):
            return []

    model, x = vit()
    before = snapshot(model)
    with pytest.raises(InputError, match=r"Nowhere\(\) finds no place in VisionTransformer"):
        attach(model, Nowhere(), example=x)
    assert_untouched(model, before)
