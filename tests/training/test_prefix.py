"""What the frozen blocks give is computed once, and training goes on as if it were not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foldtune.backbones import load_backbone
from foldtune.core.attach import attach
from foldtune.data import load_data
from foldtune.methods import parse
from foldtune.study.bench.bench import Bench
from foldtune.training.loop import train
from foldtune.training.prefix import prefix_of
from foldtune.training.recipe import Recipe

from .tiny import CLASSES, close, equal, images, numbers, prepare, vit, weights

RECIPE = Recipe(epochs=3, batch_size=8, warmup_epochs=1)
EXAMPLE = torch.rand(2, 3, 16, 16)


def attached(method, **options):
    options = {"proj_drop_rate": 0.0, "depth": 4, **options}
    attachment = attach(vit(**options), parse(method), example=EXAMPLE, seed=0)
    return attachment.model, [s.path for s in attachment.sites if s.role == "block"]


def plain(batch, _generator):
    return prepare(batch, None)


@pytest.mark.parametrize(
    ("method", "cut"),
    [("LastBlocks(count=1)", 3), ("LastBlocks(count=2, part='mlp')", 2),
     ("LoRA(targets=('blocks.2.attn.qkv',))", 2)],
)  # fmt: skip
def test_training_from_the_cut_equals_training_the_whole(method, cut):
    pixels, labels, rows = images()
    whole, blocks = attached(method)
    expected = train(whole, pixels, labels, rows, RECIPE, prepare=plain, seed=0)
    model, _ = attached(method)
    found = prefix_of(model, blocks, RECIPE, EXAMPLE, len(pixels))
    assert found.cut == cut
    table = found.table(pixels, rows, plain)
    calls = []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, n=number: calls.append(n))
    with found.install():
        outcome = train(model, table, labels, rows, RECIPE, prepare=found.prepare, seed=0)
    assert set(calls) == set(range(cut, 4))
    # The same sums, over batches of another size.
    assert close(weights(model), weights(whole))
    for mine, theirs in zip(numbers(outcome.curve), numbers(expected.curve), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_one_batch_from_the_cut_has_the_same_bits():
    pixels, _, _ = images()
    model, blocks = attached("LastBlocks(count=2)")
    model.eval()
    batch = plain(torch.from_numpy(pixels[:8]), None)
    found = prefix_of(model, blocks, RECIPE, EXAMPLE, len(pixels))
    features = found.features(batch)
    whole = model(batch)
    with found.install():
        assert torch.equal(model(found.prepare(features, None)), whole)
    assert torch.equal(model(batch), whole)
    assert "forward" not in vars(model.blocks)


def test_the_model_is_left_as_it_was():
    model, blocks = attached("LastBlocks")
    before, modes = weights(model), [m.training for m in model.modules()]
    rates = [m.drop_prob for m in model.modules() if hasattr(m, "drop_prob")]
    assert prefix_of(model, blocks, RECIPE, EXAMPLE, 10) is not None
    assert equal(weights(model), before)
    assert [m.training for m in model.modules()] == modes
    assert [m.drop_prob for m in model.modules() if hasattr(m, "drop_prob")] == rates
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("method", "change", "options", "limit"),
    [
        ("SSF", {}, {}, 2**30),
        ("LastBlocks", {"augment": ("flip",)}, {}, 2**30),
        ("LastBlocks", {"mixup": 0.2}, {}, 2**30),
        ("LastBlocks", {"drop_path": 0.1}, {}, 2**30),
        ("LastBlocks", {"epochs": 1, "warmup_epochs": 0.0}, {}, 2**30),
        ("LastBlocks", {}, {"proj_drop_rate": 0.1}, 2**30),
        ("LastBlocks", {}, {}, 1000),
    ],
    ids=["trains in all", "augment", "mixup", "drop path", "one epoch", "dropout", "memory"],
)
def test_the_whole_model_runs_where_the_cut_would_not_be_the_same(method, change, options, limit):
    model, blocks = attached(method, **options)
    recipe = replace(RECIPE, **change)
    assert prefix_of(model, blocks, recipe, EXAMPLE, 36, limit) is None


def test_rows_of_no_group_stay_zero():
    pixels, _, rows = images()
    model, blocks = attached("LastBlocks")
    found = prefix_of(model, blocks, RECIPE, EXAMPLE, len(pixels))
    table = found.table(pixels, rows, plain)
    assert table.shape == (len(pixels), 5, 16)
    assert table.dtype == np.float32
    assert not table[:4].any()
    assert CLASSES == 5


def test_a_run_of_last_blocks_is_the_same_with_and_without_the_cut(tmp_path):
    data = load_data("digits", size=16, cache=tmp_path).few_shot(2)
    bench = Bench(load_backbone("micro", size=16), data)
    recipe = Recipe(epochs=2, warmup_epochs=0.5, batch_size=8)
    run = bench.describe("trial", parse("LastBlocks(count=2)"), recipe, 0, head="zero")
    cut = bench.execute(run)
    bench.prefix_bytes = 0
    whole = bench.execute(run)
    for mine, theirs in zip(cut["curve"], whole["curve"], strict=True):
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-4)
        if mine["epoch"] > 0:
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
