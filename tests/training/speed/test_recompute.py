"""Blocks computed again: the same gradients from less memory."""

from dataclasses import replace

import pytest
import torch

from foldtune.core.attach import attach
from foldtune.core.compute.kept import kept_bytes
from foldtune.errors import InputError
from foldtune.methods import SSF, AdaptFormer, LoRA, VPTDeep
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe, recipe_values
from foldtune.training.speed.recompute import recomputed_blocks

from ..tiny import RANDOM, close, images, prepare, vit, weights


@pytest.mark.parametrize(
    "method", [SSF(), LoRA(rank=2), AdaptFormer(rank=2), VPTDeep(count=2)], ids=repr
)
def test_a_training_is_the_same_dropout_included(method):
    found = []
    for recompute in (False, True):
        model = vit(depth=3)
        attach(model, method, example=torch.zeros(2, 3, 16, 16), num_classes=5, seed=0)
        recipe = replace(RANDOM, epochs=1, warmup_epochs=0, recompute=recompute)
        train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu")
        found.append(weights(model))
        assert "Recomputing" not in str(type(model.blocks[0]))
    assert close(*found)


def test_less_is_kept():
    model, x = vit(depth=6), torch.rand(4, 3, 16, 16)
    kept = []
    for wanted in (False, True):
        with recomputed_blocks(model, wanted), kept_bytes(model) as sizes:
            model(x).sum().backward()
        kept.append(sum(sizes.values()))
    assert kept[1] < 0.5 * kept[0]


def test_a_host_that_repeats_nothing_is_refused():
    with (
        pytest.raises(InputError, match="Linear repeats no block"),
        recomputed_blocks(torch.nn.Linear(2, 2), True),
    ):
        pass


def test_it_is_stated_where_it_is_asked_alone():
    assert "recompute" not in recipe_values(Recipe())
    assert recipe_values(Recipe(recompute=True))["recompute"] is True
