"""Frozen tensors kept in bfloat16: what moves, what stays, and what comes back."""

from contextlib import suppress
from dataclasses import replace

import pytest
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.judging.predict import predict_logits
from foldtune.methods import SSF, AdaptFormer, BitFit, DoRA, LayerNorm, LinearProbe, LoRA, VPTDeep
from foldtune.training.device import check_precision
from foldtune.training.loop import train
from foldtune.training.speed.narrow import narrow

from ..tiny import RECIPE, equal, images, prepare, vit, weights

KEPT = "bf16-kept"
METHODS = (
    SSF(), LoRA(rank=2), BitFit(), LayerNorm(), AdaptFormer(rank=2), VPTDeep(count=2), DoRA(),
    LinearProbe(),
)  # fmt: skip


def attached(method, seed=0):
    model = vit(proj_drop_rate=0.0, drop_path_rate=0.0, depth=3)
    attachment = attach(model, method, example=torch.zeros(2, 3, 16, 16), num_classes=5, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in attachment.parameters():
            p += 0.1 * torch.randn(p.shape, generator=draw)
    return model.eval()


def computed(model, x, precision):
    """Logits and gradients under autocast, the frozen tensors narrow where asked."""
    model.zero_grad()
    with narrow(model, precision), torch.autocast("cpu", torch.bfloat16):
        logits = model(x)
        logits.float().square().sum().backward()
    return logits.detach().float(), {
        n: p.grad for n, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_it_computes_what_autocast_does(method):
    model, x = attached(method), torch.rand(8, 3, 16, 16)
    exact = model(x).detach()
    cast, cast_gradients = computed(model, x, "bf16")
    kept, gradients = computed(model, x, KEPT)
    # Eight bits: both are as far from float32, and from each other no farther than twice that.
    # Seen up to 2**-6 of the largest logit on one processor, and up to 2**-4.8 where the last bits
    # of each result are moved as another's kernels may, DoRA's norms among them.
    unit = 2.0**-4 * exact.abs().max()
    assert (cast - exact).abs().max() < unit
    assert (kept - exact).abs().max() < unit
    assert gradients.keys() == cast_gradients.keys()
    assert all(g.dtype == torch.float32 for g in gradients.values())
    largest = max(g.abs().max() for g in cast_gradients.values())
    assert max((gradients[n] - g).abs().max() for n, g in cast_gradients.items()) < 0.05 * largest


@pytest.mark.parametrize("method", [SSF(), LoRA(rank=2), LayerNorm()], ids=repr)
def test_the_originals_come_back_to_the_bit_and_what_trains_stays_wide(method):
    model = attached(method)
    before = weights(model)
    classes = [type(m) for m in model.modules()]
    with suppress(RuntimeError), narrow(model, KEPT):
        trained = [p for p in model.parameters() if p.requires_grad]
        assert all(p.dtype == torch.float32 for p in trained)
        assert model.blocks[0].attn.proj.weight.dtype == torch.bfloat16
        raise RuntimeError
    assert equal(before, weights(model))
    assert [type(m) for m in model.modules()] == classes


def test_nothing_is_moved_at_another_precision():
    model = attached(SSF())
    with narrow(model, "bf16"):
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_statistics_and_their_norms_stay_wide():
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=5).eval().requires_grad_(False)
    with narrow(model, KEPT), torch.autocast("cpu", torch.bfloat16):
        assert model.bn1.weight.dtype == model.bn1.running_mean.dtype == torch.float32
        assert model.layer1[0].conv1.weight.dtype == torch.bfloat16
        assert model(torch.rand(2, 3, 32, 32)).isfinite().all()


class Casts(TorchDispatchMode):
    """Counts the bytes that casts from one dtype to another write."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and out.dtype != args[0].dtype:
            self.bytes += out.numel() * out.element_size()
        return out


@pytest.mark.parametrize(
    ("method", "share"), [(LoRA(rank=2), 0.2), (BitFit(), 0.5), (SSF(), 0.75)], ids=repr
)
def test_a_step_casts_less(method, share):
    # SSF scales every norm, which then stays in float32, as do its casts.
    model, x = attached(method), torch.rand(8, 3, 16, 16)
    written = {}
    for precision in ("bf16", KEPT):
        with narrow(model, precision), Casts() as casts, torch.autocast("cpu", torch.bfloat16):
            model(x).float().sum().backward()
        written[precision] = casts.bytes
    assert 0 < written[KEPT] < share * written["bf16"]


def able():
    try:
        check_precision(KEPT, torch.device("cpu"))
    except InputError:
        return False
    return True


@pytest.mark.skipif(not able(), reason="this CPU has no bfloat16")
def test_a_training_and_its_prediction_take_it():
    recipe = replace(RECIPE, precision=KEPT, lr=1e-2)
    found = {}
    for precision in ("fp32", KEPT):
        model = attached(SSF())
        outcome = train(model, *images(), replace(recipe, precision=precision), prepare=prepare,
                        seed=0, device="cpu")  # fmt: skip
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        pixels, _, rows = images()
        logits = predict_logits(model, pixels, rows, prepare, precision=precision)
        found[precision] = outcome.curve[-1]["loss"], logits
    assert abs(found[KEPT][0] - found["fp32"][0]) < 0.05 * found["fp32"][0]
    assert not torch.equal(found[KEPT][1], found["fp32"][1])
