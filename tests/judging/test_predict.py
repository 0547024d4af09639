import numpy as np
import pytest
import timm
import torch
from torch import nn

from foldtune.errors import InputError
from foldtune.judging.predict import predict_logits

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
ROWS = np.array([7, 3, 19, 0, 11])


def prepare(batch, generator):
    assert generator is None
    return batch.permute(0, 3, 1, 2).float() / 255


@pytest.fixture
def model():
    torch.manual_seed(0)
    return timm.models.VisionTransformer(
        img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=4, drop_rate=0.5
    )


def test_logits_are_the_models_in_the_order_of_the_rows(model):
    logits = predict_logits(model, PIXELS, ROWS, prepare)
    with torch.no_grad():
        expected = model.eval()(prepare(torch.from_numpy(PIXELS[ROWS]), None))
    assert torch.equal(logits, expected)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad


def test_the_batch_size_only_changes_rounding(model):
    whole = predict_logits(model, PIXELS, ROWS, prepare)
    assert torch.allclose(predict_logits(model, PIXELS, ROWS, prepare, 2), whole, atol=1e-6)


def test_modes_come_back(model):
    model.blocks.eval()
    predict_logits(model, PIXELS, ROWS, prepare)
    assert model.training
    assert model.head_drop.training
    assert not model.blocks[0].training


def test_a_model_that_caches_in_its_forward_can_still_train():
    class Caching(nn.Linear):
        cache = None

        def forward(self, x):
            if self.cache is None:
                self.cache = torch.ones(3)
            return super().forward(x.flatten(1)[:, :4]) * self.cache

    model = Caching(4, 3)
    predict_logits(model, PIXELS, ROWS, prepare)
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert model.weight.grad is not None


def test_half_precision_comes_near(model, monkeypatch):
    monkeypatch.setattr("foldtune.training.device._abilities", lambda: {"avx512_bf16": True})
    full = predict_logits(model, PIXELS, ROWS, prepare)
    half = predict_logits(model, PIXELS, ROWS, prepare, precision="bf16", device="cpu")
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    # bfloat16 keeps 8 bits.
    assert torch.allclose(half, full, atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"precision": "int8"},
            "unknown precision 'int8'; choose from: fp32, tf32, bf16,",
        ),
        ({"precision": "fp16"}, "fp16 needs a GPU"),
        ({"device": "cuda:99"}, "device 'cuda:99'"),
        ({"indices": ROWS[:0]}, "no images"),
    ],
)
def test_what_cannot_be_predicted_is_refused(model, options, message):
    options = {"indices": ROWS, "prepare": prepare, **options}
    with pytest.raises(InputError, match=message):
        predict_logits(model, PIXELS, **options)


def test_compiled_logits_are_the_plain_ones_and_an_odd_batch_runs_as_written(model, monkeypatch):
    torch.compiler.reset()
    made = []

    def kept(graph, _inputs):
        made.append(graph)
        return graph

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda part, **o: real(part, backend=kept, **o))
    plain = predict_logits(model, PIXELS, ROWS, prepare, 2)
    assert made == []
    compiled = predict_logits(model, PIXELS, ROWS, prepare, 2, compiled=True)  # 2, 2 and 1 images
    assert torch.allclose(compiled, plain, atol=1e-6)
    assert len(made) == 1  # for two blocks
    assert all(m._compiled_call_impl is None for m in model.modules())
    torch.compiler.reset()
