"""The summary claims what the rows support and no more."""

import pytest

from foldtune.report import words


def _entry(label, **more):
    entry = {
        "label": label,
        "method": f"{label}()",
        "val_accuracy": 0.8,
        "test_accuracy": 0.75,
        "low": 0.7,
        "high": 0.8,
        "interval": "images",
        "test_images": 200,
        "trainable": 10,
        "trials": 4,
        "epochs": 80,
        "diverged": 0,
        "seconds": 30.0,
        "winner": False,
        "indistinguishable": True,
    }
    return {**entry, **more}


def test_the_winner_is_said_with_its_interval_and_its_equals():
    said = " ".join(words.verdict([_entry("A", winner=True, trainable=99), _entry("B")]))
    assert "A is chosen" in said
    assert "75.0 % (95 % interval 70.0 to 80.0)" in said
    assert "cannot tell it apart from any other method" in said
    assert "B, with 10 parameters" in said


def test_a_clear_winner_is_said():
    board = [_entry("A", winner=True), _entry("B", indistinguishable=False)]
    assert words.verdict(board)[-1] == "Its interval overlaps no other method's."


def test_a_clear_loser_is_not_among_the_equals():
    board = [_entry("A", winner=True), _entry("B"), _entry("C", indistinguishable=False)]
    assert "apart from B:" in words.verdict(board)[-1]


def test_an_unfinished_final_run_is_said():
    board = [_entry("A", winner=True, test_accuracy=None, low=None, high=None)]
    assert "has not finished" in words.verdict(board)[-1]


def test_a_better_test_figure_does_not_make_a_winner():
    board = [_entry("B", test_accuracy=0.9), _entry("A", winner=True)]
    assert any("B has the highest test accuracy. It is not" in n for n in words.notes([], board))


def test_uneven_budgets_are_said():
    board = [_entry("A", winner=True), _entry("B", trials=2)]
    assert "between 2 and 4 trials" in words.budget([], board)
    assert any("not even" in note for note in words.notes([], board))


def test_a_backbone_without_pretraining_is_said():
    notes = words.notes([{"pretrained": False, "verdict": "finished"}], [_entry("A", winner=True)])
    assert any("not pre-trained" in note for note in notes)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (75, "75 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations_read_well(seconds, said):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(("names", "said"), [("a", "a"), ("ab", "a and b"), ("abc", "a, b and c")])
def test_lists_read_well(names, said):
    assert words.listed(list(names)) == said
