"""Averaged weights, phases and parts of a pass, through the whole loop."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import timm
import torch

from foldtune.errors import InputError
from foldtune.training.batches import epoch_batches, steps_per_epoch
from foldtune.training.host import fast_attention
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe

from .tiny import RANDOM, RECIPE, equal, images, numbers, prepare, vit, weights

AVERAGED = replace(RANDOM, ema=0.8)


def run(recipe, model=None, **options):
    model = model or vit()
    options = {"prepare": prepare, "device": "cpu", "seed": 0, **options}
    return train(model, *images(), recipe, **options), model


def test_averaged_weights_are_judged_and_kept_and_change_no_step():
    seen, model = [], vit()
    outcome, _ = run(AVERAGED, model, evaluate=lambda _: seen.append(weights(model)) or {})
    usual, live = run(RANDOM)
    assert numbers(outcome.curve) == numbers(usual.curve)
    assert equal(weights(model), seen[-1])
    assert not equal(weights(model), weights(live))


@pytest.mark.parametrize("broken", [1, 2])
def test_a_resumed_average_is_bit_equal(tmp_path, broken):
    def fails(epoch):
        if epoch == broken:
            raise RuntimeError
        return {}

    path = tmp_path / "checkpoint"
    with pytest.raises(RuntimeError):
        run(AVERAGED, evaluate=fails, checkpoint=path)
    resumed, model = run(AVERAGED, checkpoint=path)
    whole, other = run(AVERAGED)
    assert equal(weights(model), weights(other))
    assert numbers(resumed.curve) == numbers(whole.curve)
    again, third = run(AVERAGED, checkpoint=path)  # finished: read, not run
    assert equal(weights(third), weights(other))
    assert again.curve == resumed.curve


def test_an_average_is_not_resumed_without_one(tmp_path):
    run(RANDOM, checkpoint=tmp_path / "checkpoint")
    with pytest.raises(InputError, match=r"it has ema=0\.0, not 0\.8"):
        run(AVERAGED, checkpoint=tmp_path / "checkpoint")


@dataclass(frozen=True)
class Sided:
    seen: list = field(default_factory=list)
    side: int = 16

    def at(self, side):
        return Sided(self.seen, side)

    def __call__(self, batch, generator):
        self.seen.append(self.side)
        return prepare(batch[:, : self.side, : self.side], generator)


def test_each_phase_trains_at_its_side():
    host, sided = vit(dynamic_img_size=True), Sided()
    run(replace(RECIPE, phases=((1, 8), (3, 16))), host, prepare=sided)
    assert sided.seen == [8] * 10 + [16] * 5


def test_phases_need_a_prepare_that_has_sides():
    with pytest.raises(InputError, match=r"ask for 8 pixels, but this prepare has no `at\(side\)`"):
        run(replace(RECIPE, phases=((1, 8),)))


@pytest.mark.parametrize(
    "phases", [((2, 8),), ((1, 8), (1, 16)), ((1, 8), (4, 16)), ((1,),), ((1, 0),), ((1, 8.0),)]
)
def test_phases_that_cannot_be_are_refused(phases):
    with pytest.raises(InputError, match=r"recipe: phases=.*allowed: "):
        replace(RECIPE, phases=phases)


def test_the_side_of_an_epoch():
    recipe = Recipe(epochs=5, phases=[[1, 32], [4, 64]], warmup_epochs=1)
    assert [recipe.side(epoch) for epoch in (1, 3, 4, 5)] == [32, 32, 64, 64]
    assert RECIPE.side(1) is None


def test_the_parts_of_a_pass_share_its_images():
    rows, recipe = np.arange(100, 134), Recipe(batch_size=4, parts=3)
    assert steps_per_epoch(len(rows), recipe) == 3
    passes = [
        np.concatenate([b for epoch in epochs for b in epoch_batches(rows, recipe, 0, epoch)])
        for epochs in ((1, 2, 3), (4, 5, 6))
    ]
    for seen in passes:
        assert len(seen) == len(set(seen)) == 33  # of 34: three equal parts
    assert passes[0].tolist() != passes[1].tolist()


def test_each_entry_of_the_curve_is_told():
    told = []
    outcome, _ = run(RECIPE, watch=told.append)
    assert tuple(told) == outcome.curve


@pytest.mark.parametrize(("precision", "written_out"), [("bf16", True), ("fp32", False)])
def test_attention_is_written_out_where_the_fused_kernel_is_slow(precision, written_out):
    model = timm.models.VisionTransformer(
        img_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=2
    )
    attention, noise = model.blocks[0].attn, torch.randn(2, 3, 16, 16)
    assert attention.fused_attn
    plain = model(noise)
    with fast_attention(model, precision, torch.device("cpu")):
        assert attention.fused_attn is not written_out
        # Two orders of the same float32 sums.
        assert torch.allclose(model(noise), plain, atol=1e-5)
    assert attention.fused_attn
