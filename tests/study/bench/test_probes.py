"""Starts of classifiers, solved for each task, are those of scikit-learn on the same features."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from foldtune.study.bench.probes import solve
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression, SingleLabel

DRAW = np.random.default_rng(0)
FEATURES = DRAW.normal(size=(120, 8)).astype(np.float32)
SCALED = (FEATURES - FEATURES.mean(0)) / np.sqrt(FEATURES.astype(np.float64).var(0).mean())
PULL = FEATURES @ DRAW.normal(size=8) + 0.5 * DRAW.normal(size=120)


def logits(found):
    return FEATURES @ found.weight.numpy().T + found.bias.numpy()


def test_weights_of_classes_are_scikit_learns():
    labels = np.digitize(PULL, [1.5, 3.0])
    theirs = LogisticRegression(C=0.3, max_iter=1000, tol=1e-8, class_weight="balanced")
    wanted = theirs.fit(SCALED, labels).decision_function(SCALED)
    found = logits(solve(SingleLabel(), FEATURES, labels, 3, 0.3, remedy="weighted"))
    centred = found - found.mean(1, keepdims=True)
    # Both stop at a gradient near zero, theirs nearer: 1e-8 against 1e-4.
    np.testing.assert_allclose(centred, wanted - wanted.mean(1, keepdims=True), atol=5e-3)
    strong = [logits(solve(SingleLabel(), FEATURES, labels, 3, 0.001, remedy=remedy))
              for remedy in ("weighted", "none")]  # fmt: skip
    rare = labels == 2
    weighted, plain = ((one.argmax(1) == 2)[rare].mean() for one in strong)
    assert weighted > plain + 0.2


def test_each_label_has_its_own_regression():
    held = np.stack([PULL > 0, PULL < -1, np.zeros(120, bool)], 1).astype(np.float32)
    found = logits(solve(MultiLabel(), FEATURES, held, 3, 0.3))
    for k in (0, 1):
        theirs = LogisticRegression(C=0.3, max_iter=1000, tol=1e-8).fit(SCALED, held[:, k])
        np.testing.assert_allclose(found[:, k], theirs.decision_function(SCALED), atol=5e-3)
    np.testing.assert_allclose(found[:, 2], np.log(0.5 / 120.5), rtol=1e-5)  # nobody has it


def test_each_question_of_grades_is_asked_of_those_above():
    grades = np.digitize(PULL, [-1, 0, 2])
    found = logits(solve(Ordinal(), FEATURES, grades, 4, 0.3))
    assert found.shape == (120, 3)
    for k in range(3):
        asked = grades >= k
        own = FEATURES[asked]
        scaled = (own - own.mean(0)) / np.sqrt(own.astype(np.float64).var(0).mean())
        theirs = LogisticRegression(C=0.3, max_iter=1000, tol=1e-8).fit(scaled, grades[asked] > k)
        np.testing.assert_allclose(found[asked, k], theirs.decision_function(scaled), atol=5e-3)


def test_numbers_are_ridge_regression_of_the_standardised_number():
    task = Regression().for_targets(PULL)
    theirs = Ridge(1 / 0.3).fit(SCALED, (PULL - task.mean) / task.std)
    found = logits(solve(task, FEATURES, PULL, 1, 0.3))
    np.testing.assert_allclose(found[:, 0], theirs.predict(SCALED), atol=1e-5)
    chosen = solve(task, FEATURES, PULL, 1)
    assert chosen.C > 0.1  # the number is nearly linear in the features
    grouped = solve(task, FEATURES, PULL, 1, groups=[str(n % 9) for n in range(120)])
    assert grouped.C > 0


@pytest.mark.parametrize("remedy", ["effective", "sampler", "adjusted"])
def test_every_remedy_starts_from_weighted_classes(remedy):
    labels = np.digitize(PULL, [1.5, 3.0])
    plain = solve(SingleLabel(), FEATURES, labels, 3, 0.3)
    assert not np.allclose(solve(SingleLabel(), FEATURES, labels, 3, 0.3, remedy=remedy).bias,
                           plain.bias)  # fmt: skip
