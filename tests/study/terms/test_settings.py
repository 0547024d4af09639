"""The defaults of a user's folder: the same from Python and from the command line."""

from dataclasses import replace

import pytest

import foldtune
from foldtune.options.groups import TrainOptions
from foldtune.study.terms.settings import default_recipe, recipe_fields
from foldtune.training.recipe import Recipe, recipe_of

HEAD_LR = Recipe().head_lr


@pytest.mark.parametrize("epochs", [1, 8, 20, 100])
def test_the_command_line_trains_as_python_does(epochs):
    assert Recipe(**recipe_fields(TrainOptions(epochs=epochs))) == default_recipe(epochs)
    assert default_recipe(epochs) == Recipe(epochs=epochs)


def test_a_row_from_before_the_classifiers_rate_is_read_without_one():
    assert recipe_of({"epochs": 3}).head_lr is None
    assert recipe_of({"epochs": 3, "head_lr": 0.3}) == Recipe(epochs=3)


def test_a_run_by_default_moves_the_classifier_at_a_rate_of_its_own():
    data = foldtune.load_data("digits", size=16).few_shot(2, 0)
    default = foldtune.fit(data, foldtune.load_backbone("micro", size=16), "BitFit").row
    assert default["recipe"]["head_lr"] == HEAD_LR
    # A thousandth of it leaves the classifier where it starts, and BitFit's host is hardly moved.
    still = replace(default_recipe(), head_lr=HEAD_LR / 1000, lr=1e-5, min_lr=1e-6)
    moved = replace(still, head_lr=HEAD_LR)
    losses = [
        foldtune.fit(
            data, foldtune.load_backbone("micro", size=16), "BitFit", recipe=recipe
        ).row["curve"][-1]["loss"]
        for recipe in (still, moved)
    ]  # fmt: skip
    assert losses[1] < losses[0] - 0.1
