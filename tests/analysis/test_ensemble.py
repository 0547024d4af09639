"""Each rule is its formula; ties fall as stated; greedy never sees anything but validation."""

import numpy as np
import pytest

from analysis.panels import made
from foldtune.analysis.bootstrap import resamples
from foldtune.analysis.ensemble import Choice, best_k, combine, ensembles, greedy
from foldtune.analysis.panel import Member
from foldtune.errors import InputError


def members(*logits):
    return [Member(str(i), 0, np.array(x, np.float32)) for i, x in enumerate(logits)]


def softmax(x):
    e = np.exp(np.asarray(x, float))
    return e / e.sum(-1, keepdims=True)


def test_means_are_weighted_means():
    a, b = [[2.0, 0.0, 1.0]], [[0.0, 4.0, 1.0]]
    two = members(a, b)
    assert combine(two, "logits", [3, 1]) == pytest.approx((3 * np.array(a) + b) / 4)
    wanted = (softmax(a) + softmax(b)) / 2
    assert combine(two, "probabilities") == pytest.approx(wanted, abs=1e-6)


def test_a_majority_wins_whatever_the_confidence():
    found = combine(members([[0.1, 0]], [[0.1, 0]], [[0, 99.0]]), "vote")
    assert found.argmax(1) == [0]


def test_a_tied_vote_goes_to_the_larger_mean_probability():
    found = combine(members([[1.0, 0, 0]], [[0, 3.0, 0]]), "vote")
    assert found.argmax(1) == [1]
    # Three ways tied: still one of the voted classes.
    found = combine(members([[1.0, 0.9, 0]], [[0.9, 1.0, 0]]), "vote")
    assert found[0, 2] < found[0, :2].min()


def test_an_unknown_rule_lists_the_rules():
    with pytest.raises(InputError, match="choose from: vote"):
        combine(members([[1.0, 0]]), "votes")


def test_greedy_takes_what_complements_and_stops_where_nothing_helps():
    labels = np.array([0, 0, 1, 1])
    one = softmax([[3, 0], [-1, 0], [0, 3], [0, 3]])  # wrong on the second
    two = softmax([[0, 1], [4, 0], [0, 1], [1, 0]])  # right there
    useless = softmax([[0, 9], [0, 9], [9, 0], [9, 0]])
    weights = greedy({"one": one, "two": two, "useless": useless}, labels)
    assert set(weights) == {"one", "two"}
    mixed = sum(w * p for w, p in zip(weights.values(), (one, two), strict=True))
    assert (mixed.argmax(1) == labels).all()


def test_greedy_of_one_perfect_member_is_that_member():
    labels = np.array([0, 1])
    sure = softmax([[50, 0], [0, 50]])
    assert greedy({"A": sure, "B": softmax([[1, 0], [0, 1]])}, labels) == {"A": 1}


def test_gains_are_over_the_best_and_the_mean_member_and_controls_stand_beside():
    panel = made(methods=4, seeds=2, images=500)
    counts = resamples(500, 100)
    rows = ensembles(panel, [Choice("all", dict.fromkeys("ABCD", 1), "nothing")], counts)
    row = next(r for r in rows if r["rule"] == "logits" and r["ensemble"] == "all")
    right = np.mean([
        sum(panel.runs[n][s].logits for n in "ABCD").argmax(1) == panel.labels for s in (0, 1)
    ])  # fmt: skip
    accuracies = [panel.right[n].mean() for n in "ABCD"]
    assert row["accuracy"]["value"] == pytest.approx(right)
    assert row["gain_over_best"]["value"] == pytest.approx(right - max(accuracies), abs=1e-6)
    assert row["gain_over_mean"]["value"] == pytest.approx(right - np.mean(accuracies), abs=1e-6)
    assert row["passes"] == 4
    controls = [r for r in rows if r["control"]]
    assert len(controls) == 4 * 3
    assert {r["passes"] for r in controls} == {2}


def test_independent_mistakes_gain_more_than_those_of_seeds():
    panel = made(methods=4, seeds=4, images=1000, own=2.0, noise=0.2)
    rows = ensembles(panel, [best_k("ABCD", 4)], resamples(1000, 50))
    gain = {r["ensemble"]: r["gain_over_mean"]["value"] for r in rows if r["rule"] == "logits"}
    methods = gain.pop("best 4 on validation")
    assert methods > max(gain.values()) + 0.05
