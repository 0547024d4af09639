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
        "seeds": 3,
        "epochs": 80,
        "diverged": 0,
        "seconds": 30.0,
        "winner": False,
    }
    return {**entry, **more}


def test_a_better_test_figure_does_not_make_a_winner():
    board = [_entry("B", test_accuracy=0.9), _entry("A", winner=True)]
    assert any("B has the highest test accuracy. It is not" in n for n in words.notes([], board))


def test_uneven_budgets_are_said():
    board = [_entry("A", winner=True), _entry("B", trials=2)]
    assert "between 2 and 4 trials" in words.budget([], board)
    assert any("not even" in note for note in words.notes([], board))


def test_what_the_budget_cannot_tell_is_said():
    notes = " ".join(words.notes([], [_entry("A", winner=True), _entry("B")]))
    assert "the best that 4 trials of it found" in notes
    assert "--search-seed" in notes
    assert "no tuning" not in notes
    few = [_entry("A", winner=True, trials=1, seeds=1), _entry("B", trials=1, seeds=1)]
    notes = " ".join(words.notes([], few))
    assert "1 trial is no tuning" in notes
    assert "1 seed cannot tell which method is better" in notes


def test_a_backbone_without_pretraining_is_said():
    notes = words.notes([{"pretrained": False, "verdict": "finished"}], [_entry("A", winner=True)])
    assert any("not pre-trained" in note for note in notes)


@pytest.mark.parametrize(("names", "said"), [("a", "a"), ("ab", "a and b"), ("abc", "a, b and c")])
def test_lists_read_well(names, said):
    assert words.join_names(list(names)) == said
