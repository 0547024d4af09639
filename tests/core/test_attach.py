import contextlib
import copy
import logging
import warnings
from dataclasses import dataclass

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from foldtune.core import edits
from foldtune.core.attach import attach
from foldtune.core.attachment import CONTAINER
from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Adapter, Reweight, Rewire, Train
from foldtune.core.method import Method
from foldtune.core.structure.sites import select
from foldtune.errors import InputError
from foldtune.methods import SSF, AdaptFormer, BitFit, Full, LinearProbe, LoRA
from foldtune.testing import TINY_HOSTS, build_host

from .tiny import (
    Answering,
    Plus,
    assert_untouched,
    attention_host,
    distance,
    shift,
    snapshot,
    vit,
)

METHODS = [SSF(), LoRA(rank=2), AdaptFormer(rank=2), BitFit(), Full()]
EVERYWHERE = ("attn.in", "attn.out", "mlp.up", "mlp.down")


# -- what attaches where ---------------------------------------------------------------------------


@pytest.mark.parametrize("host", TINY_HOSTS)
def test_no_example_is_needed_where_the_host_says_its_size(host):
    if host == "mixer":  # built from its class, so it carries no configuration
        with pytest.raises(InputError, match=r"MlpMixer does not say its input size; give"):
            attach(build_host(host)[0], SSF())
        return
    model, _ = build_host(host)
    if host in ("convnext", "resnet"):
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, 32, 32)}
    # timm's pretrained_cfg says 224 whatever img_size was given: an AssertionError of timm's own.
    attach(model, SSF())


def test_example_that_does_not_fit_is_refused_without_a_trace():
    model, _ = vit()
    before = snapshot(model)
    with pytest.raises(InputError, match=r"does not run on the example of shape \(2, 3, 48, 48\)"):
        attach(model, SSF(), example=torch.rand(2, 3, 48, 48))
    assert_untouched(model, before)


@pytest.mark.parametrize("method", [SSF(), LinearProbe()])
def test_attaching_twice_is_refused(method):
    model, x = vit()
    attach(model, method, example=x)
    wrapped = nn.ModuleDict({"body": model})
    for carrier in (model, wrapped):
        with pytest.raises(InputError, match="carries an attachment already; detach"):
            attach(carrier, method, example=x, head="body.head")


def test_bare_sequential_is_refused():
    model, x = vit()
    with pytest.raises(InputError, match=r"bare nn\.Sequential"):
        attach(nn.Sequential(model), SSF(), example=x, head="0.head")


def test_backbone_inside_a_module_is_attached_to():
    model = Answering(lambda t: t)
    attachment = attach(model, SSF(), example=torch.rand(2, 3, 32, 32), seed=0)
    assert attachment.head == ("body.head",)


@pytest.mark.parametrize(
    "wrap",
    [lambda t: {"loss": None, "logits": t}, lambda t: (t, None)],
    ids=["mapping", "tuple"],
)
def test_host_that_wraps_its_logits_is_attached_to(wrap):
    model, x = Answering(wrap), torch.rand(2, 3, 32, 32).double()
    plain = copy.deepcopy(model)
    attachment = attach(model, LoRA(rank=2) + SSF(), example=x, seed=0, num_classes=7)
    assert next(t for t in _values(model(x)) if t is not None).shape == (2, 7)
    attachment.detach()
    for a, b in zip(_values(model(x)), _values(plain(x)), strict=True):
        assert a is b is None or torch.equal(a, b)


def _values(output):
    return list(output.values()) if isinstance(output, dict) else list(output)


class UnderNoGrad(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = build_host("vit")[0]
        self.head = nn.Linear(5, 5).double()

    @torch.no_grad()
    def forward(self, x):
        return self.head(self.body(x))


def test_host_that_cannot_be_trained_is_refused():
    with pytest.raises(InputError, match="does it run under no_grad"):
        attach(UnderNoGrad(), SSF(), example=torch.rand(2, 3, 32, 32))


def test_caller_under_no_grad_is_no_matter():
    model, x = vit()
    with torch.no_grad():
        attachment = attach(model, SSF(), example=x)
    assert all(p.requires_grad for p in attachment.parameters())


def test_tied_weight_is_refused_where_a_merge_would_change_both():
    model, x = vit()
    model.blocks[1].mlp.fc1.weight = model.blocks[0].mlp.fc1.weight
    before = snapshot(model)
    with pytest.raises(
        InputError, match=r"cannot stand at blocks\.0\.mlp\.fc1: its weight is tied"
    ):
        attach(model, SSF(), example=x)
    assert_untouched(model, before)


def test_tied_parameters_train_once():
    # Full() met the second name and ended in a KeyError.
    model, x = vit()
    model.blocks[1].mlp.fc1.weight = model.blocks[0].mlp.fc1.weight
    before, size = snapshot(model), sum(p.numel() for p in model.parameters())
    attachment = attach(model, Full(), example=x)
    assert attachment.trainable + attachment.head_size == size
    base = attachment.base_state()
    shift(attachment)
    assert all(torch.equal(v, base[k]) for k, v in attachment.base_state().items())
    attachment.detach()
    assert_untouched(model, before)


@pytest.mark.parametrize("affine", [True, False])
def test_statistics_stay_frozen_unless_the_method_trains_them(affine):
    model, x = build_host("resnet")
    model.bn1 = nn.BatchNorm2d(64, affine=affine).double()
    for method, moves in (
        *((LinearProbe(), False), (SSF(), False), (Full(), False), (Full("moving"), True)),
    ):
        attachment = attach(model, method, example=x, seed=0)
        before = model.bn1.running_mean.clone()
        model.train()
        model(x)
        assert torch.equal(model.bn1.running_mean, before) != moves, method
        attachment.detach()
        assert torch.equal(model.bn1.running_mean, before)


# -- randomness ------------------------------------------------------------------------------------


def test_seed_leaves_the_global_generator_alone_and_repeats():
    drawn = []
    for _ in range(2):
        torch.rand(3)
        model, x = vit()
        before = torch.get_rng_state()
        attachment = attach(model, SSF() + AdaptFormer(rank=2), example=x, num_classes=7, seed=5)
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append({n: t.detach().clone() for n, t in attachment.named_tensors().items()})
    assert list(drawn[0]) == list(drawn[1])
    assert all(torch.equal(drawn[0][n], drawn[1][n]) for n in drawn[0])


def test_another_seed_draws_other_values_and_none_draws_from_the_global_generator():
    def draw(seed):
        model, x = vit()
        return attach(model, LoRA(rank=2), example=x, seed=seed).named_tensors()[
            "LoRA.blocks.0.attn.qkv.lora_A"
        ]

    assert distance(draw(1), draw(2)) > 0
    torch.manual_seed(3)
    assert distance(draw(None), draw(None)) > 0
    torch.manual_seed(3)
    first = draw(None)
    torch.manual_seed(3)
    assert torch.equal(draw(None), first)


# -- failing without a trace -----------------------------------------------------------------------


class Unused(Adapter):
    """Owns a tensor that nothing reads."""

    def __init__(self):
        super().__init__()
        self.used = nn.Parameter(torch.ones(()))
        self.forgotten = nn.Parameter(torch.zeros(3))

    def leave(self, x, y):
        return y * self.used


@dataclass(frozen=True, repr=False)
class DeadTensor(Method):
    def edits(self, model, sites):
        return [Rewire(select(sites, "block")[1], Unused())]


@dataclass(frozen=True, repr=False)
class RaisesMidway(Method):
    def edits(self, model, sites):
        model_sites = select(sites, "attn.in")
        yield Reweight(model_sites[0], Plus(nn.Parameter(torch.zeros(1))))
        yield Train(("norm.weight",))
        raise KeyError("midway")


@dataclass(frozen=True, repr=False)
class WrongShape(Method):
    def edits(self, model, sites):
        class Wrong(Delta):
            def __init__(self):
                super().__init__()
                self.a = nn.Parameter(torch.zeros(1))

            def fold(self, weight, bias):
                return weight[:, 1:] + self.a, bias

        return [Train(("norm.weight",)), Reweight(select(sites, "mlp.up")[0], Wrong())]


@dataclass(frozen=True, repr=False)
class TrainsNothing(Method):
    def edits(self, model, sites):
        return [Train(("blocks.0.no_such",))]


@pytest.mark.parametrize(
    ("method", "error", "words"),
    [
        (DeadTensor(), InputError, r"no gradient reaches DeadTensor\.blocks\.1\.forgotten"),
        (RaisesMidway(), KeyError, "midway"),
        (WrongShape(), RuntimeError, "mat1 and mat2"),
        (
            TrainsNothing(),
            InputError,
            r"trains blocks\.0\.no_such, which VisionTransformer has not",
        ),
        (LoRA(targets=("attn.qvk",)), InputError, "unknown site"),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_failure_leaves_no_trace(method, error, words, train):
    model, x = vit()
    model.train(train)
    model.blocks[0].train(not train)
    model.blocks[1].requires_grad_(False)
    model.norm.weight.grad = torch.ones(24).double()
    before, state = snapshot(model), torch.get_rng_state()
    with pytest.raises(error, match=words):
        attach(model, method, example=x, num_classes=7, seed=0)
    assert_untouched(model, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.norm.weight.grad, torch.ones(24))
    attach(model, SSF(), example=x)  # and nothing stands in the way of the next


def test_failure_on_batch_norms_leaves_no_trace():
    # Norms that the user had put into eval mode came back in train mode.
    model, x = build_host("resnet")
    model.train()
    model.bn1.eval()
    before = snapshot(model)
    with pytest.raises(InputError, match="AdaptFormer"):
        attach(model, SSF() + AdaptFormer(), example=x, num_classes=7)
    assert_untouched(model, before)


# -- what trains -----------------------------------------------------------------------------------


def test_base_parameters_never_used_are_left_frozen_and_named(caplog):
    model, x = vit()
    model.register_parameter("mask_token", nn.Parameter(torch.zeros(24).double()))
    with caplog.at_level(logging.WARNING, logger="foldtune"):
        attachment = attach(model, Full(), example=x)
    assert "left frozen, the forward pass never uses them: mask_token" in caplog.text
    assert not model.mask_token.requires_grad
    assert "mask_token" not in attachment.named_tensors()
    assert attachment.trainable + attachment.head_size == (
        sum(p.numel() for p in model.parameters() if p.requires_grad)
    )
    attachment.detach()
    assert model.mask_token.requires_grad


def test_tensor_of_a_layer_never_used_is_refused_by_name():
    model, x = vit()
    model.unused = nn.Linear(3, 3).double()
    with pytest.raises(InputError, match=r"no gradient reaches SSF\.unused\.scale and 1 more"):
        attach(model, SSF(), example=x)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_tuning_and_the_classifier_require_gradients(method):
    model, x = vit()
    attachment = attach(model, method, example=x, seed=0)
    required = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert required == attachment.trainable + attachment.head_size
    assert required == sum(p.numel() for p in attachment.parameters())


def test_gradients_from_before_do_not_leak_into_the_first_step():
    model, x = vit()
    model(x).sum().backward()
    attachment = attach(model, BitFit(), example=x)
    assert all(p.grad is None for p in model.parameters())
    model(x).sum().backward()
    model.zero_grad()
    assert all(p.grad is None for p in attachment.parameters())


# -- modes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("method", [SSF(), AdaptFormer(rank=2), LoRA(rank=2, dropout=0.5)])
def test_attaching_keeps_the_mode_and_the_tuning_follows_it(method, train):
    model, x = vit()
    model.train(train)
    attach(model, method, example=x, num_classes=7)
    assert {m.training for m in model.modules()} == {train}
    model.train(not train)
    assert {m.training for m in model.modules()} == {not train}


def test_dropout_of_the_tuning_lives_in_train_mode_only():
    model, x = vit()
    attachment = attach(model, LoRA(rank=2, dropout=0.5), example=x, seed=0)
    shift(attachment)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


@dataclass(frozen=True, repr=False)
class FoldOnly(Method):
    def edits(self, model, sites):
        return [Reweight(s, Plus(nn.Parameter(torch.zeros(1)))) for s in select(sites, "attn.in")]


@pytest.mark.parametrize(
    ("host", "method", "warned"),
    [
        ("vit", LoRA(rank=2, dropout=0.1), False),
        ("beit", LoRA(rank=2, dropout=0.1), True),
        ("beit", LoRA(rank=2, dropout=0.1, targets=("mlp.up",)), False),
        ("beit", LoRA(rank=2), False),
        # Another delta without a cheap call makes the layer take its changed weight.
        ("vit", LoRA(rank=2, dropout=0.1) + FoldOnly(), True),
    ],
)
def test_dropout_that_has_no_effect_is_told_to_the_caller(host, method, warned):
    model, x = build_host(host)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attach(model, method, example=x)
    told = [w for w in caught if "has no effect at blocks.0.attn.qkv" in str(w.message)]
    assert len(told) == warned
    assert all(w.filename == __file__ for w in told)


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", [SSF(), LoRA(rank=2), AdaptFormer(rank=2), Full()])
def test_any_floating_type_attaches_trains_and_detaches(method, dtype):
    model, x = vit()
    model, x = model.to(dtype), x.to(dtype)
    before = snapshot(model)
    attachment = attach(model, method, example=x, num_classes=7, seed=0)
    assert {t.dtype for t in attachment.named_tensors().values()} == {dtype}
    model(x).sum().backward()
    assert all(p.grad is not None for p in attachment.parameters())
    attachment.detach()
    assert_untouched(model, before)


@pytest.mark.parametrize("method", METHODS)
def test_moving_after_attaching_takes_everything_along(method):
    # `model.to()` cannot reach the stored start values and the old classifier.
    model, x = vit()
    model, plain = model.float(), copy.deepcopy(model).double()
    attachment = attach(model, method, example=x, num_classes=7, seed=0)
    model.double()
    shift(attachment)
    assert model(x).dtype == torch.float64
    with attachment.interpolated(0.5):
        model(x)
    with attachment.paused():
        assert distance(model(x), plain(x)) < 1e-12
    attachment.detach()
    assert distance(model(x), plain(x)) < 1e-12


def test_meta_device_attaches():
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224", depth=2)
    attachment = attach(model, SSF() + LoRA(rank=2), example=torch.rand(2, 3, 224, 224))
    assert {p.device.type for p in attachment.parameters()} == {"meta"}


@pytest.mark.parametrize("method", [SSF(), LoRA(rank=2, targets=EVERYWHERE), AdaptFormer(rank=2)])
def test_autocast_keeps_the_type_of_the_host(method):
    # SSF's activation in float32 was twice what the host keeps.
    model, x = vit()
    model, x = model.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        plain = _types(model, x)
        attach(model, method, example=x, seed=0)
        assert _types(model, x) == plain


def _types(model, x):
    types, handles = {}, []
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and not path.startswith(CONTAINER):
            hook = lambda _m, _a, out, path=path: types.__setitem__(path, out.dtype)  # noqa: E731
            handles.append(module.register_forward_hook(hook))
    model(x)
    for handle in handles:
        handle.remove()
    return types


# -- nn.MultiheadAttention -------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SSF(), LoRA(rank=2, targets=EVERYWHERE)])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_multihead_attention_sees_the_changed_weights(method, train, gradients):
    # In eval mode under no_grad it takes a fused path that reads the weights in one go.
    model, x = attention_host()
    attachment = attach(model, method, example=x, seed=0)
    start = model(x)
    shift(attachment)
    model.train(train)
    with contextlib.nullcontext() if gradients else torch.no_grad():
        tuned = model(x)
        assert distance(tuned, start) > 1e-3
        attachment.merge()
        assert distance(model(x), tuned) < 1e-12


@pytest.mark.parametrize("method", [SSF(), LoRA(rank=2, targets=EVERYWHERE)])
def test_both_projections_of_multihead_attention_train(method):
    model, x = attention_host()
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    model.train()
    F.cross_entropy(model(x), torch.tensor([0, 1])).backward()
    inner = {n: t for n, t in attachment.named_tensors().items() if "self_attention" in n}
    assert len(inner) == 8
    assert all(t.grad.any() for t in inner.values())


def test_multihead_attention_is_chosen_by_its_path():
    # The path is that of two sites, and the one without a weight was refused.
    model, x = attention_host()
    path = "encoder.layers.encoder_layer_0.self_attention"
    attachment = attach(model, LoRA(rank=2, targets=(path,)), example=x)
    assert [e.site.role for e in attachment.edits] == ["attn.in"]


def test_encoder_layer_of_torch_sees_the_changed_weights_on_its_fast_path():
    class Host(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 8, 8)
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)
            )
            self.head = nn.Linear(8, 5)

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose(1, 2)
            for block in self.blocks:
                x = block(x)
            return self.head(x.mean(1))

    model, x = Host().eval(), torch.rand(2, 3, 32, 32)
    for method in (SSF(), LoRA(rank=2, targets=EVERYWHERE), BitFit()):
        attachment = attach(model, method, example=x, seed=0)
        shift(attachment)
        with torch.no_grad():
            fast = model(x)
        assert distance(fast, model(x)) < 1e-5  # float32, another order of summing
        attachment.detach()


# -- the host's own tools --------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_state_dict_round_trip(method):
    model, x = vit()
    attachment = attach(model, method, example=x, seed=0)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    before = model(x)
    for assign in (False, True):
        shift(attachment)
        assert distance(model(x), before) > 0
        model.load_state_dict(copy.deepcopy(start), assign=assign)
        assert torch.equal(model(x), before)
        # `assign` puts other tensors in place; the tuning is what the model holds now.
        state = {id(t) for t in (*model.parameters(), *model.buffers())}
        assert {id(t) for t in attachment.named_tensors().values()} <= state


@pytest.mark.parametrize("method", METHODS)
def test_functional_call_replaces_base_and_tuning_alike(method):
    model, x = vit()
    attachment = attach(model, method, example=x, seed=0)
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():  # as below: where a gradient is wanted SSF rounds otherwise
        before = model(x)
    shift(attachment)
    with torch.no_grad():
        model.blocks[0].mlp.fc1._parameters["weight"].add_(0.1)
    assert torch.equal(torch.func.functional_call(model, start, (x,)), before)
    assert distance(model(x), before) > 0


@pytest.mark.parametrize("method", METHODS)
def test_jit_trace_agrees(method):
    model, x = vit()
    shift(attach(model, method, example=x, seed=0))
    other = torch.rand_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, x)
    assert distance(traced(other), model(other)) < 1e-12


@pytest.mark.parametrize("method", [AdaptFormer(rank=2), LoRA(rank=2), SSF(), BitFit()])
def test_gradient_checkpointing_gives_the_same_gradients(method):
    model, x = vit()
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    model.train()
    left = edits._sources.given  # by passes of other models that were cut short
    gradients = []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        torch.manual_seed(0)
        loss = F.cross_entropy(model(x), torch.tensor([0, 1]))
        gradients.append(torch.autograd.grad(loss, attachment.parameters()))
        assert edits._sources.given == left
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_two_models_do_not_influence_each_other():
    (one, x), (two, _) = vit(), vit()
    first = attach(one, SSF(), example=x, seed=0)
    plain = two(x)
    second = attach(two, LoRA(rank=2) + AdaptFormer(rank=2), example=x, seed=0)
    before = one(x)
    shift(second)
    second.paused().__enter__()
    assert torch.equal(one(x), before)
    second.detach()
    assert torch.equal(one(x), before)
    first.merge()
    assert torch.equal(two(x), plain)


@pytest.mark.parametrize("size", [2, 1])
def test_one_image_is_example_enough(size):
    model, x = build_host("swinv2")
    attachment = attach(model, LoRA(rank=2), example=x[:size], seed=0)
    assert {e.site.role for e in attachment.edits} == {"attn.in"}
    assert len(attachment.edits) == 3


def test_lora_on_a_striding_pointwise_convolution_trains_and_merges():
    # Its cheap path ran A without the stride and failed on shapes.
    model, x = build_host("resnet")
    method = LoRA(rank=2, targets=("layer2.0.downsample.0", "layer3.0.downsample.0"))
    with contextlib.suppress(AttributeError):
        model.layer2[0].downsample[0].stride = (2, 2)
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    tuned = model(x)
    attachment.merge()
    assert distance(model(x), tuned) < 1e-12


def test_attention_whose_query_key_and_value_are_bare_tensors_is_refused():
    # kdim: only out_proj is a site, so SSF trained it and passed over the three projections.
    model, x = attention_host()
    for block in model.encoder.layers:
        block.self_attention = nn.MultiheadAttention(
            24, 2, batch_first=True, kdim=24, vdim=24
        ).double()
        block.self_attention._qkv_same_embed_dim = False
        block.self_attention.in_proj_weight = None
        for letter in "qkv":
            weight = nn.Parameter(torch.rand(24, 24).double() * 0.1)
            setattr(block.self_attention, f"{letter}_proj_weight", weight)
    before = snapshot(model)
    with pytest.raises(InputError, match="less than it says"):
        attach(model, SSF(), example=x, seed=0)
    assert_untouched(model, before)
    attach(model, BitFit(), example=x, seed=0)


# -- what an attachment showed ---------------------------------------------------------------------


def computed_in_training(attachment, x):
    logits = attachment.model.train()(x)
    return [logits, *torch.autograd.grad(logits.square().sum(), attachment.parameters())]


@pytest.mark.parametrize(
    ("host", "method", "what"),
    [
        ("efficientnet", SSF(), "plainly"),  # its activations write over what layers return
        ("swinv2", SSF(), "readings"),  # its attention reads its weights itself
        ("vit with a spare layer", Full(), "unused"),
    ],
    ids=repr,
)
def test_the_next_attachment_takes_over_what_one_showed(host, method, what, monkeypatch):
    model, x = vit() if host == "vit with a spare layer" else build_host(host)
    if what == "unused":
        model.blocks[0].spare = nn.Linear(2, 2)
    first = attach(model, method, example=x, num_classes=3, seed=0)
    shown = first.shown
    assert getattr(shown, what)
    torch.manual_seed(0)
    expected = computed_in_training(first, x)
    model.eval()
    first.detach()
    monkeypatch.setattr("foldtune.core.attach.dry_run", None)  # a call of it would raise
    again = attach(model, method, example=x, num_classes=3, seed=0, shown=shown)
    assert again.sites == first.sites
    torch.manual_seed(0)
    for one, other in zip(expected, computed_in_training(again, x), strict=True):
        assert torch.equal(one, other)
