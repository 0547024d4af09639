"""Training through torch.compile, in TF32, and in the memory format of convolutions."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import timm
import torch
from torch._dynamo.utils import counters

from foldtune.core.attach import attach
from foldtune.core.compute.delta import Delta
from foldtune.core.compute.kept import kept_bytes
from foldtune.errors import InputError
from foldtune.methods import SSF, AdaptFormer, LoRA
from foldtune.study.bench.run import Run
from foldtune.training.device import check_compiler, check_precision, prepare_model, tensor_float
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe
from foldtune.training.speed.blocks import compiled_blocks
from foldtune.training.stack import common
from lacking import NEEDS_NEW_COMPILER

from .tiny import RECIPE, close, equal, images, prepare, vit, weights

CPU = torch.device("cpu")


def tuned(recipe, seed=0, **options):
    model = vit(seed=seed, **options)
    attach(model, SSF(), example=torch.zeros(2, 3, 16, 16), num_classes=5, seed=0)
    train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu")
    return weights(model)


@pytest.fixture
def graphs(monkeypatch):
    """The graphs made, of which no code is made here; kept ones of tests before are thrown away."""
    torch.compiler.reset()
    made = []

    def kept(graph, _inputs):
        made.append(graph)
        return graph

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **o: real(model, backend=kept, **o))
    yield made
    torch.compiler.reset()


def code_of(graph):
    """Its code, with that of functions whose gradient is their own."""
    return " ".join(part.code for part in graph.modules() if hasattr(part, "code"))


PLAIN = {"proj_drop_rate": 0.0, "drop_path_rate": 0.0}


def test_a_compiled_training_is_the_plain_one_but_for_rounding():
    recipe = replace(RECIPE, epochs=2, batch_size=16)  # 36 images: the last batch is another size
    options = {"depth": 2, **PLAIN}
    plain = tuned(recipe, **options)
    torch.compiler.reset()
    counters.clear()
    compiled = tuned(replace(recipe, compile=True), **options)
    made = counters["stats"]["unique_graphs"]
    assert made > 0
    assert close(plain, compiled)
    again = tuned(replace(recipe, compile=True), **options)
    assert counters["stats"]["unique_graphs"] == made
    assert equal(compiled, again)


def test_blocks_share_a_graph_and_later_trainings_make_none(graphs):
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, compile=True)
    tuned(recipe, depth=4, **PLAIN)
    assert len(graphs) == 1
    for seed in range(3):
        tuned(replace(recipe, lr=2e-3), depth=2, seed=seed, **PLAIN)
    assert len(graphs) == 1


@pytest.mark.parametrize(
    "method", [LoRA(rank=2), pytest.param(AdaptFormer(rank=2), marks=NEEDS_NEW_COMPILER)]
)
def test_a_method_has_few_graphs_however_deep_the_host(graphs, method):
    made = []
    for depth in (3, 6):
        graphs.clear()
        torch.compiler.reset()
        model = vit(depth=depth, **PLAIN)
        attach(model, method, example=torch.zeros(2, 3, 16, 16), num_classes=5, seed=0)
        recipe = replace(RECIPE, epochs=1, warmup_epochs=0, compile=True)
        train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu")
        made.append(len(graphs))
    # A block whose input needs no gradient is another graph, and so is what a hook runs.
    assert 1 <= made[0] == made[1] <= 4


def test_an_odd_batch_is_computed_as_it_is_written(graphs):
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, batch_size=16, compile=True)
    tuned(recipe, **PLAIN)  # 36 images: 16, 16, 4
    assert len(graphs) == 1
    assert {len(t.meta["example_value"]) for g in graphs for t in g.graph.nodes
            if t.op == "placeholder" and t.name.startswith("l_x")} <= {16}  # fmt: skip


def test_blocks_computed_again_are_compiled_and_keep_their_input_alone(graphs):
    found, kept = [], []
    for changes in ({}, {"compile": True, "recompute": True}):
        model = vit(depth=3, **PLAIN)
        attach(model, SSF(), example=torch.zeros(2, 3, 16, 16), num_classes=5, seed=0)
        recipe = replace(RECIPE, epochs=1, warmup_epochs=0, batch_size=16, **changes)
        with kept_bytes(model) as sizes:
            train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu")
        found.append(weights(model))
        kept.append(sum(sizes.values()))
        # Of the one size of batch that an epoch repeats, and the block itself, not what calls it.
        assert all(
            "linear" in code_of(graph) and "checkpoint" not in graph.code for graph in graphs
        )
        assert bool(graphs) is bool(changes)
    assert close(*found)
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_compiled_blocks_fold_scales_and_divide_by_none_that_is_tiny(graphs, scale):
    model, x = vit(depth=2, **PLAIN), torch.randn(2, 3, 16, 16)
    attachment = attach(model, SSF(), example=x, num_classes=5, seed=0)
    with torch.no_grad():
        for delta in attachment.holdings.container.children():
            if isinstance(delta, Delta):
                delta.scale[0] = scale
    found = []
    for compiled in (False, True):
        with compiled_blocks(model) if compiled else nullcontext():
            loss = model(x).square().mean()
            found.append(torch.autograd.grad(loss, attachment.parameters()))
    for a, b in zip(*found, strict=True):
        assert torch.isfinite(b).all()
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    # Folded, no feature is scaled: what multiplies it by the scale is in the graph else.
    folded = ["autograd_function_apply" in code_of(graph) for graph in graphs]
    assert folded
    assert all(folded) is (scale == 1.0)


def test_a_host_that_repeats_nothing_is_compiled_whole(graphs):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 8), torch.nn.Linear(8, 5))
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, compile=True)
    train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu")
    assert len(graphs) == 1


def test_nothing_is_compiled_unasked_and_nothing_stays_compiled(graphs):
    model = vit()
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0)
    train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu")
    assert graphs == []
    train(model, *images(), replace(recipe, compile=True), prepare=prepare, seed=0, device="cpu")
    assert graphs
    assert all(m._compiled_call_impl is None for m in model.modules())


def test_a_missing_compiler_is_told_before_the_first_step(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="no-such-compiler is not here; install one"):
        tuned(replace(RECIPE, compile=True))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="triton"):
        check_compiler(torch.device("cuda"))


def test_a_compiled_run_is_another_run():
    run = Run("trial", "SSF", SSF(), Recipe(), 0, "b", "d", "s", ("train",), "probe")
    assert run.key != replace(run, recipe=replace(run.recipe, compile=True)).key


@pytest.mark.parametrize("name", ["compile", "channels_last"])
def test_stacked_trials_have_none_of_it(name):
    with pytest.raises(InputError, match=f"{name}=True cannot be stacked"):
        common(replace(RECIPE, **{name: True}))


def ordinary(batch, generator):
    return prepare(batch, generator).contiguous()


@pytest.mark.parametrize(
    ("host", "asked", "given"),
    [
        ("resnet10t", False, False),
        ("resnet10t", None, False),
        ("resnet10t", True, True),
        ("test_efficientnet", None, True),
        ("test_efficientnet", False, False),
    ],
)
def test_channels_last_is_asked_for_or_where_depthwise_convolutions_stand(host, asked, given):
    torch.manual_seed(0)
    model = timm.create_model(host, num_classes=5).eval()
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, channels_last=asked)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    dense = next(m for m in convolutions if m.in_channels > 8 and m.kernel_size == (3, 3))
    seen = []
    dense.register_forward_pre_hook(
        lambda conv, args: seen.append(
            [t.is_contiguous(memory_format=torch.channels_last) for t in (conv.weight, *args)]
        )
    )
    train(model, *images(), recipe, prepare=ordinary, seed=0, device="cpu")
    assert seen
    assert all(flags == [given] * 2 for flags in seen)


def test_channels_last_is_for_the_time_of_a_training():
    found = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        model = timm.create_model("resnet10t", num_classes=5).eval()
        attach(model, SSF(), example=torch.zeros(2, 3, 32, 32), num_classes=5, seed=0)
        seen = []

        def look(conv, args, seen=seen):
            kept = (conv.weight, *args)
            seen.append([t.is_contiguous(memory_format=torch.channels_last) for t in kept])

        model.layer1[0].conv2.register_forward_pre_hook(look)
        recipe = replace(RECIPE, epochs=1, warmup_epochs=0, channels_last=channels_last)
        train(model, *images(), recipe, prepare=ordinary, seed=0, device="cpu")
        assert seen
        assert all(flags == [channels_last] * 2 for flags in seen)
        assert all(p.is_contiguous() for p in model.parameters())
        found.append(weights(model))
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-4) for name in found[0])


def test_tf32_is_for_nvidia_and_only_inside():
    with pytest.raises(InputError, match="tf32 needs an NVIDIA GPU, not cpu"):
        check_precision("tf32", CPU)
    check_precision("tf32", torch.device("cuda"))
    before = torch.get_float32_matmul_precision()
    with tensor_float(True):
        assert torch.get_float32_matmul_precision() == "high"
    with tensor_float(False), prepare_model(vit(), "fp32", "cpu"):
        assert torch.get_float32_matmul_precision() == before
    assert torch.get_float32_matmul_precision() == before


def _rounded(x):
    """Each number to ten bits, as TF32 takes the factors of a product."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _with_rounded_convolutions(model, x, monkeypatch):
    exact = torch.nn.functional.conv2d
    with monkeypatch.context() as inside:
        inside.setattr(
            torch.nn.functional,
            "conv2d",
            lambda x, w, *rest: exact(_rounded(x), _rounded(w), *rest),
        )
        return model(x).detach()


def test_fp32_is_fp32_in_convolutions_too():
    # cuDNN rounds the factors of float32 convolutions by itself.
    assert torch.backends.cudnn.allow_tf32
    for wanted in (False, True):
        with tensor_float(wanted):
            assert torch.backends.cudnn.allow_tf32 is wanted
        assert torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    try:
        with tensor_float(False):  # the caller's wish
            assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


def test_rounded_convolutions_are_what_parts_a_merged_model_from_its_own(monkeypatch):
    gaps = {}
    for method in (SSF(), LoRA(rank=2)):
        model, x = vit(**PLAIN), torch.rand(4, 3, 16, 16)
        attachment = attach(model, method, example=x, num_classes=5, seed=0)
        model.eval()
        torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
        before = model(x), _with_rounded_convolutions(model, x, monkeypatch)
        merged = attachment.merge()
        after = merged(x), _with_rounded_convolutions(merged, x, monkeypatch)
        gaps[type(method)] = [(a - b).abs().max() for a, b in zip(before, after, strict=True)]
    assert max(gap for gap, _ in gaps.values()) < 1e-5
    assert gaps[LoRA][1] < 1e-5  # which leaves the patch embedding alone
    assert gaps[SSF][1] > 1e-4
