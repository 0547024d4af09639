"""Intervals that cover what they say, and a winner that never saw the test split."""

import random
from dataclasses import asdict

import numpy as np
import pytest

from foldtune.analysis.decision import decide
from foldtune.analysis.intervals import row_intervals
from foldtune.analysis.leaderboard import configuration, leaderboard, winner
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


def test_the_interval_covers_other_images_and_other_seeds():
    # Three seeds of true accuracy 0.8 +- 0.03, each on the same fresh 200 images of their own
    # difficulty; 1000 draws: a sound 95 % interval misses 50 +- 7, one of 90 % 100.
    rng = random.Random(0)
    missed = 0
    for _ in range(1000):
        images = [rng.random() for _ in range(200)]
        seeds = [rng.gauss(0.8, 0.03) for _ in range(3)]
        values = [sum(image < seed for image in images) / 200 for seed in seeds]
        ((low, high),) = row_intervals([values], 200)
        missed += not low <= 0.8 <= high
    assert 25 < missed < 75


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
    assert a["against"] is None


def _judged(accuracies, images=2000, seeds=2):
    """A decision on methods of these accuracies that are right about images in one order."""
    place = (np.arange(images) + 0.5) / images
    return decide({n: np.stack([place < a - s / 500 for s in range(seeds)])
                   for n, a in accuracies.items()})  # fmt: skip


def test_how_a_method_stands_is_the_decisions_to_say():
    accuracies = {"A": 0.8, "B": 0.799, "C": 0.4, "D": 0.95}
    valid = {name: 0.9 - place / 10 for place, name in enumerate(accuracies)}
    rows = [row for name, v in valid.items()
            for row in (_trial(name, v), _final(name, v, accuracies[name]))]  # fmt: skip
    decision = _judged(accuracies)
    board = {entry["label"]: entry for entry in leaderboard(rows, decision=decision)}
    standing = {name: entry["against"] for name, entry in board.items()}
    assert standing == {"A": "chosen", "B": "alike", "C": "worse", "D": "better"}
    assert [n for n, entry in board.items() if entry["may_be_best"]] == ["D"]
    assert (board["C"]["rank_low"], board["C"]["rank_high"]) == (4, 4)
    at = decision.at("B")
    assert (board["B"]["low"], board["B"]["high"]) == (decision.low[at], decision.high[at])
    assert {entry["against"] for entry in leaderboard(rows)} == {None}


def test_a_seed_counts_once_the_last_of_it():
    # A study that was begun before a change of REVISION has two runs of a seed.
    rows = [_trial("A", 0.7), _final("A", 0.7, 0.9, seed=1), _final("A", 0.7, 0.8, seed=1),
            _final("A", 0.7, 0.6, seed=2)]  # fmt: skip
    (entry,) = leaderboard(rows)
    assert (entry["seeds"], entry["test_accuracy"]) == (2, pytest.approx(0.7))


def test_the_interval_says_what_it_covers():
    rows = [
        *(_trial("A", 0.9), _final("A", 0.9, 0.8)),
        *(_trial("C", 0.7), _final("C", 0.7, 0.7, test_images=None)),
    ]
    covers = {entry["label"]: entry["interval"] for entry in leaderboard(rows)}
    assert covers == {"A": "images", "C": None}
    seeds = [_trial("B", 0.8), _final("B", 0.8, 0.7), _final("B", 0.8, 0.74, seed=1)]
    # B's seeds tell what seeds do to A.
    assert {e["interval"] for e in leaderboard(rows[:2] + seeds)} == {"images and seeds"}


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
