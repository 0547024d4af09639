"""The first words of a page: what to use, how sure, what it gains, what would settle it."""

from dataclasses import replace

import pytest

from foldtune.analysis.decision import IMAGES, Decision, Pair
from foldtune.report.lead import lead

SEEDS = "images and seeds"


def standing(label, validation, winner=False):
    return {
        "label": label, "method": f"{label}()", "val_accuracy": validation, "winner": winner,
        "test_accuracy": validation - 0.01, "low": validation - 0.03, "high": validation + 0.01,
        "interval": SEEDS,
    }  # fmt: skip


def decided(difference, half, *, images_share=0.8, covers=SEEDS):
    """LoRA against LinearProbe, on 400 test images with 3 seeds."""
    apart = abs(difference) > half
    pair = Pair(
        "LoRA", "LinearProbe", difference, difference - half, difference + half, 0.01, apart,
        images_share, 0.0, half,
    )  # fmt: skip
    first = 2 if apart and difference < 0 else 1
    other = 2 if apart and difference > 0 else 1
    return Decision(
        ("LoRA", "LinearProbe"), 400, 400, (3, 3), covers, (0.8 + difference, 0.8), (0.7, 0.7),
        (0.9, 0.9), (0.01, 0.01), (pair,), (first, other), (2, 2),
    )  # fmt: skip


BOARD = [standing("LoRA", 0.9, winner=True), standing("LinearProbe", 0.8)]


def test_a_settled_study_says_so_and_what_it_gains():
    told = dict(lead(BOARD, decided(0.1, 0.04)))
    assert told["Use"].startswith("LoRA(), chosen by validation (90.0 %); it reaches 89.0 %")
    assert told["How sure"].startswith("Sure: no other of the methods may be best")
    assert told["Gain over the probe"] == (
        "It gains 10.0 points (95 %, all pairs together: 6.0 to 14.0)."
    )
    assert told["What would settle it"].startswith("Nothing more is needed")


def test_the_yardstick_is_the_attentive_probe_where_it_stands_for_the_linear_one():
    found = decided(0.1, 0.04)
    pair = replace(found.pairs[0], b="AttentiveProbe")
    found = replace(found, names=("LoRA", "AttentiveProbe"), pairs=(pair,))
    told = dict(lead([BOARD[0], standing("AttentiveProbe", 0.8)], found))
    assert told["Gain over the probe"].startswith("It gains 10.0 points")


def test_an_open_study_says_how_many_images_would_tell():
    told = dict(lead(BOARD, decided(0.02, 0.04)))
    assert "LinearProbe may be as good" in told["How sure"]
    assert told["Gain over the probe"].endswith("which may be chance.")
    # Half the difference is twice the uncertainty: four times the images.
    assert told["What would settle it"] == (
        "To tell it from LinearProbe, if the difference stays as it is: about 1,600 test images in "
        "place of 400."
    )


def test_where_seeds_vary_most_it_asks_for_seeds():
    told = dict(lead(BOARD, decided(0.02, 0.04, images_share=0.2)))
    assert told["What would settle it"].endswith("about 12 seeds in place of 3.")


def test_what_nobody_would_gather_is_not_advised():
    told = dict(lead(BOARD, decided(0.004, 0.04, images_share=0.2)))
    assert told["What would settle it"] == (
        "Little: to tell it from LinearProbe would take about 300 seeds in place of 3. Take the "
        "one that is smaller or folds in."
    )


def test_a_difference_of_nothing_is_not_chased():
    told = dict(lead(BOARD, decided(0.001, 0.04)))
    assert told["What would settle it"].startswith("Nothing soon: LoRA and LinearProbe are 0.1")


def test_a_winner_that_the_test_does_not_bear_out_is_told():
    told = dict(lead(BOARD, decided(-0.1, 0.04)))
    assert told["How sure"] == "Not the best: LinearProbe is better on the test images."
    assert told["Gain over the probe"].startswith("It loses 10.0 points")
    assert "It is settled: LinearProbe is better" in told["What would settle it"]


def test_a_chosen_probe_says_what_tuning_would_have_done():
    board = [standing("LoRA", 0.8), standing("LinearProbe", 0.9, winner=True)]
    told = dict(lead(board, decided(-0.1, 0.04)))
    assert told["Gain over the probe"].startswith(
        "The probe itself is chosen. Tuning by LoRA loses 10.0 points"
    )


def test_of_one_seed_it_speaks_of_these_tunings():
    told = dict(lead(BOARD, decided(0.1, 0.04, covers=IMAGES)))
    assert told["How sure"].startswith("Sure: no other of these tunings")


@pytest.mark.parametrize("decision", [None])
def test_without_test_images_it_says_what_to_use_alone(decision):
    assert [name for name, _ in lead(BOARD, decision)] == ["Use"]
    assert lead([standing("LoRA", 0.9)], decision) == []
