"""The defaults of a user's folder: the same from Python and from the command line."""

from dataclasses import replace

import pytest

import foldtune
from foldtune.cli.app import TrainOptions
from foldtune.study.settings import HEAD_LR, default_recipe
from foldtune.training.recipe import Recipe


@pytest.mark.parametrize("epochs", [1, 8, 20, 100])
def test_the_command_line_trains_as_python_does(epochs):
    assert Recipe(**TrainOptions(epochs=epochs).changes()) == default_recipe(epochs)


def test_a_run_by_default_moves_the_classifier_at_a_rate_of_its_own():
    data = foldtune.load_data("digits", size=32).few_shot(2, 0)
    default = foldtune.fit(data, foldtune.load_backbone("micro", size=32), "BitFit").row
    assert default["recipe"]["head_lr"] == HEAD_LR
    # A thousandth of it leaves the classifier where it starts, and BitFit's host is hardly moved.
    still = replace(default_recipe(), head_lr=HEAD_LR / 1000, lr=1e-5, min_lr=1e-6)
    moved = replace(still, head_lr=HEAD_LR)
    losses = [
        foldtune.fit(
            data, foldtune.load_backbone("micro", size=32), "BitFit", recipe=recipe
        ).row["curve"][-1]["loss"]
        for recipe in (still, moved)
    ]  # fmt: skip
    assert losses[1] < losses[0] - 0.1
