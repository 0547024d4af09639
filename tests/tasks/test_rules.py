"""Answers by thresholds and by costs, beside plain loops."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from foldtune.tasks.kinds import MultiLabel, Ordinal
from foldtune.tasks.metrics import Judged, values
from foldtune.tasks.rules import CostedClass, CostedGrade, Thresholded

LOGITS = np.random.default_rng(0).normal(size=(40, 3))
NAMES = ["a", "b", "c"]


def test_each_label_is_answered_from_its_own_threshold_on():
    task = Thresholded(thresholds=(0.3, 0.8, np.inf))
    answers = task.answers(LOGITS)
    np.testing.assert_array_equal(answers[:, :2], expit(LOGITS[:, :2]) >= [0.3, 0.8])
    assert not answers[:, 2].any()
    told = task.describe(LOGITS, NAMES)
    assert [row["labels"] for row in told] == [
        [name for name, one in zip(NAMES, row, strict=True) if one] for row in answers
    ]
    assert task.rule(NAMES) == {"a": 0.3, "b": 0.8, "c": None}
    half = Thresholded(thresholds=(0.5,) * 3)
    np.testing.assert_array_equal(half.answers(LOGITS), MultiLabel().answers(LOGITS))


def test_metrics_follow_the_thresholds():
    truth = (np.random.default_rng(1).random((40, 3)) < 0.5).astype(np.float32)
    task = Thresholded(thresholds=(0.3, 0.8, 0.5))
    found = dict(values(Judged(task, LOGITS, truth)))
    assert found["hamming"] == pytest.approx((task.answers(LOGITS) == truth).mean(), abs=1e-12)
    assert found["map"] == dict(values(Judged(MultiLabel(), LOGITS, truth)))["map"]


def test_the_class_of_least_expected_cost_is_answered():
    costs = ((0.0, 1.0, 1.0), (9.0, 0.0, 1.0), (1.0, 2.0, 0.0))
    task = CostedClass(costs=costs)
    for row, told, answer in zip(
        softmax(LOGITS, 1), task.describe(LOGITS, NAMES), task.answers(LOGITS), strict=True
    ):
        each = [sum(row[t] * costs[t][said] for t in range(3)) for said in range(3)]
        assert answer == int(np.argmin(each))
        assert told["class"] == NAMES[answer]
        # The same sum in another order.
        assert told["cost"] == pytest.approx(min(each), abs=1e-12)
        assert told["probability"] == pytest.approx(row[answer], abs=1e-12)
    truth = np.arange(40) % 3
    answers = task.answers(LOGITS)
    paid = np.mean([costs[t][a] for t, a in zip(truth, answers, strict=True)])
    assert task.mean_cost(answers, truth) == pytest.approx(paid, abs=1e-12)
    np.testing.assert_array_equal(task.likeliest(LOGITS), LOGITS.argmax(1))
    assert not np.array_equal(task.likeliest(LOGITS), answers)


def test_equal_costs_of_all_mistakes_answer_with_the_likeliest_class():
    costs = tuple(map(tuple, (1.0 - np.eye(3)).tolist()))
    np.testing.assert_array_equal(CostedClass(costs=costs).answers(LOGITS), LOGITS.argmax(1))


def test_grades_are_answered_by_their_shares():
    off = np.abs(np.subtract.outer(np.arange(4), np.arange(4))).astype(float)
    costs = tuple(map(tuple, (off**2).tolist()))
    task = CostedGrade(costs=costs, levels=("1", "2", "3", "4"))
    shares = Ordinal().probabilities(LOGITS)
    np.testing.assert_array_equal(task.answers(LOGITS), (shares @ off**2).argmin(1))
    assert task.metrics == Ordinal.metrics
    np.testing.assert_array_equal(task.likeliest(LOGITS), Ordinal().answers(LOGITS))
