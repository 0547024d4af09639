"""Every sentence is the decision's, in its words; no two of a study contradict each other."""

import numpy as np
import pytest
import random_studies

from foldtune.analysis.decision import decide
from foldtune.report import verdict

LEVELS = {"A": 0.75, "B": 0.745, "C": 0.4}


def entry(label, **more):
    found = {
        "label": label, "method": f"{label}()", "val_accuracy": 0.8, "test_accuracy": 0.75,
        "low": 0.7, "high": 0.8, "interval": "images and seeds", "test_images": 200,
        "trainable": 10, "winner": False, "against": "alike",
    }  # fmt: skip
    return found | more


def decision(levels=LEVELS, seeds=3, images=500, groups=None):
    """Methods of these accuracies, that are right about images in nearly one order."""
    rng = np.random.default_rng(0)
    place = (np.arange(images) + 0.5) / images
    return decide(
        {n: np.stack([place < a + rng.normal(0, 0.02, images) for _ in range(seeds)])
         for n, a in levels.items()},
        groups,
    )  # fmt: skip


BOARD = [
    entry("A", winner=True, against="chosen", trainable=99, val_accuracy=0.815),
    entry("B"),
    entry("C", against="worse"),
]


def test_the_headline_has_the_choice_its_margin_its_interval_and_who_may_be_best():
    said = verdict.verdict(BOARD, decision(), 200)
    assert said[0].startswith("A is chosen: with A()")
    assert said[1] == "It led the next, B, by 3 of 200 validation images."
    assert "75.0 % (95 % interval 70.0 to 80.0, over new images and new training seeds)" in said[2]
    assert said[3] == "A and B may be best (95 %)."
    assert said[4] == "A is better than C."
    assert said[5].startswith("A cannot be told apart from B, of which B is smallest with 10")
    assert "500 test images and 3 seeds" in said[6]


def test_a_tie_on_validation_is_said():
    board = [entry("A", winner=True, against="chosen"), entry("B", trainable=20)]
    assert "ties with B on the 40 validation images" in verdict.verdict(board, decision(), 40)[1]


def test_one_seed_speaks_of_tunings_and_never_of_methods():
    found = decision(seeds=1)
    said = " ".join(verdict.verdict(BOARD, found, 200))
    assert "best of these tunings" in said
    assert "This A is better than C." in said
    assert "cannot be told from one seed. Use --seeds 3." in said
    words = verdict.pair_sentence(found, found.between("C", "A"))
    assert words.startswith("On such images this A beats this C by ")
    assert "it would hold if runs vary by less than" in words
    assert "distinguishable" not in said + words + verdict.count_apart(found)


def test_a_pair_is_told_with_its_simultaneous_interval_better_first():
    found = decision()
    pair = found.between("A", "C")
    words = verdict.pair_sentence(found, found.between("C", "A"))
    assert words.startswith(f"A is better than C by {100 * pair.difference:.1f} points (95 %, all")
    assert f"{100 * pair.low:.1f} to {100 * pair.high:.1f}), over new images and new" in words


def test_what_cannot_be_told_apart_is_never_called_equal():
    found = decision()
    words = verdict.pair_sentence(found, found.between("A", "B"))
    assert "cannot be told apart: the difference lies between" in words
    assert words.endswith("% of this uncertainty is images.")
    assert "equal" not in words


def test_a_better_method_on_the_test_split_is_said():
    board = [entry("A", against="better"), entry("B", winner=True, against="chosen")]
    said = " ".join(verdict.verdict(board, decision(), None))
    assert "A is better than B, which validation did not foresee." in said


def test_duplicates_are_said_to_count_once():
    grouped = decision(groups=np.maximum(np.arange(500) - 20, 0))
    assert "20 are near duplicates of others" in verdict.resolution(grouped)


def test_an_unfinished_final_run_is_said():
    board = [entry("A", winner=True, test_accuracy=None, low=None, high=None)]
    assert "has not finished" in verdict.verdict(board, None)[-1]


@pytest.mark.parametrize(
    ("against", "interval", "said"),
    [
        ("worse", "images and seeds", "worse"),
        ("worse", "images", "this run is worse"),
        ("alike", "images", "cannot be told apart"),
        ("chosen", "images", "chosen on validation"),
        (None, None, "–"),
    ],
)
def test_a_badge_says_how_an_entry_stands(against, interval, said):
    assert verdict.standing(entry("A", against=against, interval=interval)) == said


@pytest.mark.parametrize("seed", range(6))
def test_headline_table_badge_and_json_never_contradict_each_other(tmp_path, seed):
    # 200 of them: python benchmarks/one_judgement.py
    folder = random_studies.write_random(tmp_path / f"study{seed}", seed)
    assert not random_studies.contradictions(folder)
