"""Intervals that cover what they say, and a winner that never saw the test split."""

import random
from dataclasses import asdict

import pytest

from foldtune.analysis.ranking import (
    configuration,
    image_and_seed_interval,
    leaderboard,
    mean_interval,
    wilson_interval,
    winner,
)
from foldtune.errors import InputError
from foldtune.training.recipe import Recipe


def _trial(label, val, **more):
    row = {
        "run": f"{label}-{val}",
        "stage": "trial",
        "label": label,
        "method": f"{label}()",
        "recipe": {"lr": val},
        "verdict": "finished",
        "val_accuracy": val,
        "val_best_accuracy": val and val + 0.01,
        "val_best_epoch": 3,
        "trainable": 100,
        "seconds": 2.0,
    }
    return {**row, **more}


def _final(label, val, test, **more):
    return {
        **_trial(label, val),
        "stage": "final",
        "test_accuracy": test,
        "test_images": 200,
        **more,
    }


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 1998, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_newcombes_table(correct, n, low, high):
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_bounded_at_the_ends():
    assert wilson_interval(0, 7)[0] == 0.0
    assert wilson_interval(7, 7)[1] == 1.0
    assert wilson_interval(7, 7)[0] < 0.7


@pytest.mark.parametrize(("correct", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(correct, n):
    with pytest.raises(InputError):
        wilson_interval(correct, n)


def test_mean_interval_is_students():
    # t(4, 0.975) = 2.776; mean 3, standard deviation sqrt(2.5).
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((1.0367, 4.9633), abs=1e-4)
    with pytest.raises(InputError):
        mean_interval([0.5])


def test_one_seed_gives_wilson():
    assert image_and_seed_interval([0.83], 200) == wilson_interval(166, 200)


def test_equal_seeds_give_wilson():
    assert image_and_seed_interval([0.83] * 3, 200) == pytest.approx(wilson_interval(166, 200))


def test_perfect_seeds_keep_a_width():
    low, high = image_and_seed_interval([1.0, 1.0], 50)
    assert high == 1.0
    assert low < 0.95


def test_the_interval_covers_other_images_and_other_seeds():
    # Three seeds of true accuracy 0.8 +- 0.03, each on the same fresh 200 images of their own
    # difficulty; 1000 draws: a sound 95 % interval misses 50 +- 7.
    rng = random.Random(0)
    missed = 0
    for _ in range(1000):
        images = [rng.random() for _ in range(200)]
        seeds = [rng.gauss(0.8, 0.03) for _ in range(3)]
        values = [sum(image < seed for image in images) / 200 for seed in seeds]
        low, high = image_and_seed_interval(values, 200)
        missed += not low <= 0.8 <= high
    assert missed < 65


def test_the_winner_is_chosen_on_validation_not_on_test():
    rows = [
        *(_trial("A", 0.7), _final("A", 0.7, 0.95)),
        *(_trial("B", 0.8), _final("B", 0.8, 0.60)),
    ]
    assert winner(rows)["label"] == "B"
    assert [entry["label"] for entry in leaderboard(rows)] == ["A", "B"]


def test_a_tie_goes_to_fewer_parameters_then_to_the_name():
    rows = [_trial("A", 0.8), _trial("C", 0.8, trainable=5), _trial("B", 0.8, trainable=5)]
    assert winner(rows)["label"] == "B"


def test_the_best_epoch_never_wins():
    rows = [_trial("A", 0.7, val_best_accuracy=0.99), _trial("B", 0.8)]
    assert winner(rows)["label"] == "B"


def test_only_finals_of_the_chosen_configuration_count():
    rows = [
        *(_trial("A", 0.7), _final("A", 0.7, 0.9), _final("A", 0.7, 0.9, seed=1)),
        *(_trial("A", 0.8), _final("A", 0.8, 0.5)),
    ]
    (entry,) = leaderboard(rows)
    assert (entry["test_accuracy"], entry["seeds"], entry["val_accuracy"]) == (0.5, 1, 0.8)


def test_a_method_without_its_final_runs_has_no_test_figure():
    rows = [_trial("A", 0.7), _final("A", 0.7, 0.9), _trial("B", 0.8)]
    a, b = leaderboard(rows)
    assert (b["test_accuracy"], b["low"], b["seeds"]) == (None, None, 0)
    assert b["winner"]
    assert a["indistinguishable"] is None


def test_overlap_with_the_winner_is_flagged():
    rows = [
        *(_trial("A", 0.9), _final("A", 0.9, 0.80)),
        *(_trial("B", 0.8), _final("B", 0.8, 0.78)),
        *(_trial("C", 0.7), _final("C", 0.7, 0.40)),
    ]
    flags = {entry["label"]: entry["indistinguishable"] for entry in leaderboard(rows)}
    assert flags == {"A": True, "B": True, "C": False}


def test_the_interval_says_what_it_covers():
    rows = [
        *(_trial("A", 0.9), _final("A", 0.9, 0.8)),
        *(_trial("B", 0.8), _final("B", 0.8, 0.7), _final("B", 0.8, 0.74)),
        *(_trial("C", 0.7), _final("C", 0.7, 0.7, test_images=None)),
    ]
    covers = {entry["label"]: entry["interval"] for entry in leaderboard(rows)}
    assert covers == {"A": "images", "B": "images and seeds", "C": None}


def test_diverged_runs_are_counted_and_never_chosen():
    rows = [
        _trial("A", 0.9, verdict="diverged: loss is nan at step 3"),
        _trial("A", 0.6),
        _trial("B", None, verdict="diverged: loss is nan"),
    ]
    a, b = leaderboard(rows)
    assert (a["val_accuracy"], a["diverged"], a["trials"], a["seconds"]) == (0.6, 1, 2, 4.0)
    assert (b["val_accuracy"], b["diverged"]) == (None, 1)
    assert winner(rows)["label"] == "A"


def test_a_study_without_trials_has_test_figures_and_no_winner():
    rows = [_final("A", 0.9, 0.8), _final("A", 0.9, 0.7, seed=1)]
    (entry,) = leaderboard(rows)
    assert entry["test_accuracy"] == pytest.approx(0.75)
    assert entry["val_accuracy"] is None, "trained on the validation images"
    assert winner(rows) is None


def test_no_rows_make_an_empty_board():
    assert leaderboard([]) == []
    assert winner([]) is None


def test_a_row_from_before_a_field_of_the_recipe_has_its_default():
    # Such rows stood on the leaderboard without the test accuracy of their configuration.
    now = asdict(Recipe())
    before = {name: value for name, value in now.items() if name not in ("ema", "phases")}
    assert configuration({"method": "SSF()", "recipe": before}) == configuration(
        {"method": "SSF()", "recipe": now}
    )
    assert configuration({"method": "SSF()", "recipe": now | {"ema": 0.9}}) != configuration(
        {"method": "SSF()", "recipe": now}
    )
