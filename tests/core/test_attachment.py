import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from foldtune.core.attach import attach
from foldtune.core.attachment import CONTAINER
from foldtune.core.edits import Reweight, Rewire
from foldtune.core.method import Method
from foldtune.core.structure.sites import select
from foldtune.core.tuningfile import check_base, read, save
from foldtune.errors import InputError
from foldtune.methods import (
    ARC,
    SSF,
    AdaptFormer,
    BitFit,
    Full,
    LayerNorm,
    LinearProbe,
    LoRA,
    RepAdapter,
)
from foldtune.testing import build_host

from .test_edits import Doubling
from .tiny import (
    Plus,
    Sharing,
    assert_untouched,
    attention_host,
    distance,
    shift,
    snapshot,
    vit,
)

MERGEABLE = [SSF(), LoRA(rank=2), BitFit(), Full(), SSF() + LoRA(rank=2) + BitFit()]
METHODS = [*MERGEABLE, AdaptFormer(rank=2)]


def tuned(method, host=vit, **settings):
    model, x = host()
    attachment = attach(model, method, example=x, seed=0, **settings)
    shift(attachment)
    return attachment, model, x


# -- merge -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", MERGEABLE)
def test_merge_after_training_equals_the_tuned_model(method):
    model, x = vit(drop_rate=0.1, drop_path_rate=0.1)
    attachment = attach(model, method, example=x, num_classes=7, seed=0)
    model.train()
    optimizer = torch.optim.AdamW(attachment.parameters(), lr=0.01)
    for _ in range(3):
        F.cross_entropy(model(x), torch.tensor([0, 6])).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    before = model(x)
    assert attachment.merge() is model
    assert distance(model(x), before) < 1e-12
    assert not hasattr(model, CONTAINER)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("method", [SSF(), LoRA(rank=4), SSF() + LoRA(rank=2)])
def test_merge_is_within_one_rounding_of_the_exact_weight(method, dtype):
    model, x = vit()
    model, x = model.to(dtype), x.to(dtype)
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    exact = copy.deepcopy(attachment)
    exact.model.double()
    exact.merge()
    attachment.merge()
    for name, value in exact.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.to(dtype)), name


@pytest.mark.parametrize("method", [SSF(), ARC(rank=2), RepAdapter(rank=2)], ids=repr)
def test_merging_into_a_host_without_biases_keeps_its_keys(method):
    model, x = vit(qkv_bias=False)
    before = list(model.state_dict())
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    tuned = model(x)
    attachment.merge()
    assert distance(model(x), tuned) < 1e-12
    assert list(model.state_dict()) == before


@pytest.mark.parametrize(
    "method",
    [
        SSF(add_bias=True),
        ARC(rank=2, add_bias=True),
        RepAdapter(rank=2, add_bias=True),
        LoRA(rank=2) + SSF(add_bias=True),
        BitFit() + SSF(add_bias=True),
    ],
    ids=repr,
)
def test_merge_creates_the_bias_that_was_asked_for(method):
    model, x = vit(qkv_bias=False)
    assert model.blocks[0].attn.qkv.bias is None
    attachment = attach(model, method, example=x, seed=0)
    shift(attachment)
    before = model(x)
    attachment.merge()
    assert distance(model(x), before) < 1e-12
    assert isinstance(model.blocks[0].attn.qkv.bias, nn.Parameter)
    assert "blocks.0.attn.qkv.bias" in model.state_dict()
    again = attach(model, SSF(), example=x, seed=0)  # a plain model like any other
    again.detach()
    assert distance(model(x), before) < 1e-12


def test_detach_takes_the_created_bias_away():
    model, x = vit(qkv_bias=False)
    before = snapshot(model)
    attachment = attach(model, SSF(add_bias=True), example=x, seed=0)
    shift(attachment)
    attachment.detach()
    assert_untouched(model, before)


def test_merge_of_a_side_network_is_refused_and_changes_nothing():
    attachment, model, x = tuned(SSF() + AdaptFormer(rank=2))
    before = model(x)
    words = r"cannot be merged: ParallelBottleneck at blocks\.0 is a side network"
    with pytest.raises(InputError, match=words):
        attachment.merge()
    assert torch.equal(model(x), before)
    attachment.detach()


@pytest.mark.parametrize("method", [*MERGEABLE, LayerNorm()])
@pytest.mark.parametrize("head_alpha", [None, 1.0])
def test_merging_between_start_and_tuned_stays_there(method, head_alpha):
    attachment, model, x = tuned(method, num_classes=7)
    with attachment.interpolated(0.3, head_alpha):
        between = model(x)
        attachment.merge()
        assert distance(model(x), between) < 1e-12
    assert distance(model(x), between) < 1e-12
    assert CONTAINER not in dict(model.named_children())


def test_merging_while_paused_gives_the_base_with_its_old_head():
    # The new classifier, at its start, was put back into the merged model.
    attachment, model, x = tuned(SSF(), num_classes=7)
    base = vit()[0](x)
    with attachment.paused():
        attachment.merge()
    assert distance(model(x), base) < 1e-12


# -- interpolation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SSF(), Full(), BitFit()])
@pytest.mark.parametrize("host", [vit, lambda: build_host("resnet"), attention_host])
def test_interpolation_is_a_straight_line_between_the_weights(method, host):
    attachment, _, _ = tuned(method, host)
    start = _merged_at(attachment, 0.0)
    end = _merged_at(attachment, 1.0)
    for name, value in _merged_at(attachment, 0.3).items():
        if value.is_floating_point():
            first = start.get(name, torch.zeros_like(value))
            assert distance(value, torch.lerp(first, end[name], 0.3)) < 1e-12, name


def _merged_at(attachment, alpha):
    twin = copy.deepcopy(attachment)
    with twin.interpolated(alpha):
        return twin.merge().state_dict()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [7, 1000, None])  # 1000: as many as the host has
def test_points_nest_and_come_back(method, classes):
    # Leaving an inner point took the model to alpha 1 whatever the outer one said.
    attachment, model, x = tuned(method, num_classes=classes)
    at_one = model(x)
    values = {n: t.detach().clone() for n, t in attachment.named_tensors().items()}
    with attachment.interpolated(0.5, 1.0):
        at_half = model(x)
        with attachment.interpolated(0.5, 1.0):
            assert torch.equal(model(x), at_half)
        with attachment.paused():
            base = model(x)
            with attachment.paused():
                assert torch.equal(model(x), base)
            assert torch.equal(model(x), base)
            with attachment.interpolated(1.0):
                pass
            assert torch.equal(model(x), base)
            assert torch.equal(base, vit()[0](x))
        assert torch.equal(model(x), at_half)
        assert distance(at_half, at_one) > 0
    assert torch.equal(model(x), at_one)
    assert all(torch.equal(t, values[n]) for n, t in attachment.named_tensors().items())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("point", ["paused", "interpolated"])
def test_an_exception_inside_restores(method, point):
    attachment, model, x = tuned(method, num_classes=7)
    before = model(x)
    context = attachment.paused() if point == "paused" else attachment.interpolated(0.5)
    with pytest.raises(KeyboardInterrupt), context:
        raise KeyboardInterrupt
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), float("inf")])
def test_alpha_outside_is_refused(alpha):
    attachment, model, x = tuned(SSF())
    before = model(x)
    for values in ((alpha,), (0.5, alpha)):
        with pytest.raises(InputError, match=r"alpha must lie in 0\.\.1"):
            attachment.interpolated(*values).__enter__()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("method", METHODS)
def test_head_moves_at_an_alpha_of_its_own(method):
    attachment, model, _ = tuned(method, num_classes=7)
    start, end = attachment.classifier.start["head.weight"], model.head.weight.detach().clone()
    for alpha, head_alpha in ((0.0, 1.0), (1.0, 0.0), (0.2, 0.5)):
        with attachment.interpolated(alpha, head_alpha):
            wanted = torch.lerp(start, end, head_alpha)
            assert distance(model.head.weight, wanted) < 1e-15


@pytest.mark.parametrize("method", METHODS)
def test_saving_between_start_and_tuned_saves_the_tuned(method, tmp_path):
    attachment, model, x = tuned(method, num_classes=7)
    before = model(x)
    with attachment.paused():
        path = save(attachment, tmp_path / "a.safetensors")
    fresh, _ = vit()
    again = attach(fresh, method, example=x, num_classes=7)
    header, tensors = read(path)
    check_base(header, again)
    again.load_tensors(tensors)
    assert torch.equal(fresh(x), before)


def test_loading_between_start_and_tuned_is_refused():
    attachment, _, _ = tuned(BitFit())
    tensors = dict(attachment.named_tensors())
    with attachment.interpolated(0.5), pytest.raises(InputError, match="inside interpolated"):
        attachment.load_tensors(tensors)


# -- detach ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["resnet", "convnext", "vit"])
@pytest.mark.parametrize("method", [Full(), SSF(), BitFit()])
def test_detach_is_bitwise_after_training_from_a_mixed_state(host, method):
    model, x = build_host(host)
    model.train()
    next(model.children()).eval()  # e.g. a stem kept in eval mode
    for p in list(model.parameters())[::2]:
        p.requires_grad_(False)
    before = snapshot(model)
    attachment = attach(model, method, example=x, num_classes=7, seed=0)
    F.cross_entropy(model(x), torch.tensor([0, 6])).backward()
    torch.optim.SGD(attachment.parameters(), lr=0.1).step()
    assert attachment.detach() is model
    assert_untouched(model, before)
    assert all(p.grad is None for p in model.parameters())


def test_old_classifier_comes_back_in_the_mode_of_the_model():
    attachment, model, _ = tuned(SSF(), num_classes=7)
    model.train()
    attachment.detach()
    assert all(m.training for m in model.modules())


def test_detach_while_paused_leaves_the_old_head():
    attachment, model, x = tuned(SSF(), num_classes=7)
    head = attachment.classifier.old["head"]
    with attachment.paused():
        attachment.detach()
    assert model.head is head
    assert torch.equal(model(x), vit()[0](x))


@pytest.mark.parametrize("end", ["merge", "detach"])
@pytest.mark.parametrize("method", [SSF(), BitFit()])
def test_use_after_the_end_is_refused(end, method, tmp_path):
    # parameters() gave the whole base to the optimiser, and save() a file of base values.
    attachment, model, x = tuned(method)
    getattr(attachment, end)()
    after = model(x)
    for use in (
        attachment.merge,
        attachment.detach,
        attachment.parameters,
        attachment.named_tensors,
        attachment.base_state,
        lambda: attachment.trainable,
        lambda: attachment.load_tensors({}),
        lambda: attachment.paused().__enter__(),
        lambda: attachment.interpolated(0.5).__enter__(),
        lambda: save(attachment, tmp_path / "a.safetensors"),
    ):
        with pytest.raises(InputError, match="it was merged or detached; attach again"):
            use()
    assert torch.equal(model(x), after)
    assert not list(tmp_path.iterdir())
    assert "no longer on its model" in repr(attachment)


# -- tensors ---------------------------------------------------------------------------------------


def test_shared_tensor_is_stored_counted_saved_and_loaded_once(tmp_path):
    attachment, model, x = tuned(Sharing())
    assert attachment.trainable == 3
    assert [n for n in attachment.named_tensors() if n not in attachment.head_names] == [
        "Sharing.blocks.0.mlp.fc1.a"
    ]
    assert len({id(p) for p in attachment.parameters()}) == len(attachment.parameters())
    fresh, _ = vit()
    again = attach(fresh, Sharing(), example=x)
    again.load_tensors(read(save(attachment, tmp_path / "a.safetensors"))[1])
    assert torch.equal(fresh(x), model(x))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert len({id(p) for p in twin.get_submodule(CONTAINER).parameters()}) == 1
    before = model(x)
    attachment.merge()
    assert distance(model(x), before) < 1e-12


def test_equal_methods_keep_tensors_of_their_own():
    # The third of equal methods overwrote the second.
    attachment, _, _ = tuned(LoRA(rank=1) + LoRA(rank=2) + LoRA(rank=3) + SSF())
    ranks = {n.partition(".")[0]: t.shape[0] for n, t in attachment.named_tensors().items()
             if n.endswith("0.attn.qkv.lora_A")}  # fmt: skip
    assert ranks == {"LoRA": 1, "LoRA2": 2, "LoRA3": 3}
    assert len(attachment.parameters()) == len(attachment.named_tensors())


@dataclass(frozen=True, repr=False)
class Twice(Method):
    """Two edits of one site, and two sites whose paths differ by a dot only."""

    def edits(self, model, sites):
        site = select(sites, "mlp.up")[0]
        new = lambda: Plus(nn.Parameter(torch.zeros(1)))  # noqa: E731
        join = Doubling()
        join.a = nn.Parameter(torch.ones(()))
        join.leave = lambda x, y: y * join.a
        return [Reweight(site, new()), Reweight(site, new()), Rewire(site, join)]


def test_second_edit_of_a_site_keeps_its_tensors():
    # It took the place of the first in the container: neither trained nor saved, in silence.
    attachment, _, _ = tuned(Twice())
    assert attachment.trainable == 3
    own = [n for n in attachment.named_tensors() if n.startswith("Twice")]
    assert own == [
        "Twice.blocks.0.mlp.fc1.a", "Twice.blocks.0.mlp.fc1.2.a", "Twice.blocks.0.mlp.fc1.3.a",
    ]  # fmt: skip
    assert len(attachment.parameters()) == len(attachment.named_tensors())


def test_paths_that_differ_by_a_dot_only_keep_their_tensors():
    model, x = vit()

    class Host(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.norm, self.head = model.blocks, model.norm, model.head
            self.patch_embed = model.patch_embed
            self.patch_embed_proj = nn.Linear(24, 24).double()

        def forward(self, x):
            x = self.patch_embed_proj(self.patch_embed(x))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x).mean(1))

    attachment = attach(Host(), SSF(), example=x, seed=0)
    assert {"SSF.patch_embed.proj.scale", "SSF.patch_embed_proj.2.scale"} <= set(
        attachment.named_tensors()
    )
    assert len(attachment.parameters()) == len(attachment.named_tensors())


@pytest.mark.parametrize("method", [*METHODS, LinearProbe()])
def test_counts_are_those_of_the_parameters(method):
    attachment, _, _ = tuned(method, num_classes=7)
    assert attachment.head_size == 7 * 24 + 7
    assert attachment.num_classes == 7
    assert attachment.trainable == (
        sum(p.numel() for p in attachment.parameters()) - attachment.head_size
    )


@pytest.mark.parametrize("method", METHODS)
def test_base_state_is_that_of_before(method):
    model, x = vit()
    before = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("head.")}
    attachment = attach(model, method, example=x, num_classes=7, seed=0)
    shift(attachment)
    base = attachment.base_state()
    assert list(base) == list(before)
    assert all(torch.equal(base[k], before[k]) for k in base)


def test_load_names_the_first_difference_and_changes_nothing():
    attachment, model, x = tuned(LoRA(rank=2))
    before = model(x)
    tensors = {n: t.detach().clone() + 1 for n, t in attachment.named_tensors().items()}
    first = next(iter(tensors))
    for changed, words in (
        ({n: t for n, t in tensors.items() if n != first}, f"{first} is missing in the tuning"),
        (tensors | {"extra": torch.zeros(1)}, "extra has no place in the model"),
        (
            tensors | {first: torch.zeros(4, 24)},
            rf"{first} is \(4, 24\) in the tuning and \(2, 24\)",
        ),
    ):
        with pytest.raises(InputError, match=words):
            attachment.load_tensors(changed)
        assert torch.equal(model(x), before)


def test_repr_says_what_is_on_what():
    attachment, _, _ = tuned(SSF() + LoRA(rank=2))
    assert repr(attachment) == (
        f"Attachment(SSF() + LoRA(rank=2) on VisionTransformer: {attachment.trainable:,} "
        f"parameters and a classifier of {attachment.head_size:,} train)"
    )
