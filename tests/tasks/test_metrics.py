"""Metrics are scikit-learn's to 1e-12; influence is the slope of scikit-learn's weighted metric."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from foldtune.errors import InputError
from foldtune.tasks.influence import influence
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression, SingleLabel
from foldtune.tasks.metrics import Judged, metric_of, score_of, values
from foldtune.tasks.task import sigmoid

IMAGES = 60


def single(seed=0, classes=4):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, IMAGES)
    logits = draw.normal(size=(IMAGES, classes)).round(1)  # some equal
    logits[np.arange(IMAGES), labels] += 1.0
    return Judged(SingleLabel(), logits, labels)


def several(seed=1, labels=3):
    draw = np.random.default_rng(seed)
    truth = (draw.random((IMAGES, labels)) < 0.3).astype(np.float32)
    return Judged(MultiLabel(), (draw.normal(size=truth.shape) + truth).round(1), truth)


def graded(seed=2, grades=5):
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, grades, IMAGES)
    steps = np.arange(grades - 1)
    return Judged(Ordinal(), 1.5 * (truth[:, None] - steps) + draw.normal(size=(IMAGES, 4)), truth)


def numbers(seed=3):
    draw = np.random.default_rng(seed)
    truth = draw.normal(10, 4, IMAGES).astype(np.float32)
    task = Regression().for_targets(truth)
    logits = (truth[:, None] - task.mean) / task.std + 0.3 * draw.normal(size=(IMAGES, 1))
    return Judged(task, logits, truth)


def told(name, it, weights=None):
    """The metric by name as scikit-learn has it."""
    truth, said = it.targets, it.answers
    more = {} if weights is None else {"sample_weight": weights}
    if name in ("auroc", "map"):
        one = theirs.roc_auc_score if name == "auroc" else theirs.average_precision_score
        shares, marks = it.shares, it.marks
        return np.mean([one(marks[:, k], shares[:, k], **more) for k in range(marks.shape[1])])
    if name.endswith("_f1"):
        average = name.removesuffix("_f1")
        return theirs.f1_score(truth, said, average=average, zero_division=0, **more)
    if name == "kappa":
        square = "quadratic" if isinstance(it.task, Ordinal) else None
        return theirs.cohen_kappa_score(truth, said, weights=square, **more)
    if name == "hamming":
        return 1 - theirs.hamming_loss(truth, said, **more)
    known = {
        "accuracy": theirs.accuracy_score, "balanced_accuracy": theirs.balanced_accuracy_score,
        "exact": theirs.accuracy_score, "mae": theirs.mean_absolute_error,
        "rmse": theirs.root_mean_squared_error, "r2": theirs.r2_score,
    }  # fmt: skip
    return known[name](truth, said, **more)


CASES = [
    (make, name) for make in (single, several, graded, numbers) for name in make().task.metrics
]


@pytest.mark.parametrize(("make", "name"), CASES)
def test_a_metric_is_scikit_learns(make, name):
    it = make()
    assert dict(values(it))[name] == pytest.approx(told(name, it), abs=1e-12)


@pytest.mark.parametrize(("make", "name"), CASES)
def test_influence_is_the_slope_over_an_images_weight(make, name):
    it, step = make(), 1e-4
    found = influence(name, it)
    metric = metric_of(name, it.task)
    turn = -1 / it.span if metric.error else 1.0
    slopes, some = [], range(0, IMAGES, 4)
    for image in some:
        up, down = np.ones(IMAGES), np.ones(IMAGES)
        up[image], down[image] = 1 + step, 1 - step
        slopes.append(turn * (told(name, it, up) - told(name, it, down)) / (2 * step) * IMAGES)
    # Twice the weights is the same metric: slopes are centred at 0. Central differences: an error
    # of step squared, and of rounding over the step.
    np.testing.assert_allclose((found - found.mean())[some], slopes, atol=1e-5)
    assert found.mean() == pytest.approx(score_of(name, it), abs=1e-12)


def test_classes_without_an_image_do_not_count():
    it = single(classes=4)
    wide = Judged(it.task, np.pad(it.logits, ((0, 0), (0, 2)), constant_values=-9.0), it.targets)
    for name in ("balanced_accuracy", "auroc", "map", "macro_f1", "kappa"):
        assert score_of(name, wide) == pytest.approx(score_of(name, it), abs=1e-5), name


def test_an_answer_worse_than_a_constant_scores_nothing():
    it = numbers()
    bad = Judged(it.task, -it.logits - 3, it.targets)
    assert dict(values(bad))["r2"] < 0
    assert score_of("r2", bad) == 0.0


def test_what_has_no_meaning_is_refused_with_the_choices():
    with pytest.raises(InputError, match=r"metric of Regression.*mae"):
        metric_of("auroc", Regression())
    lone = Judged(SingleLabel(), np.zeros((3, 2)), np.zeros(3, np.int64))
    with pytest.raises(InputError, match="no ranking to judge"):
        score_of("auroc", lone)
    with pytest.raises(InputError, match="nan"):
        Judged(SingleLabel(), np.full((2, 2), np.nan), np.zeros(2, np.int64))


def test_grades_above_are_products_of_conditional_chances():
    logits = np.array([[2.0, -1.0, 0.5]])
    first, second, third = sigmoid(logits[0])
    wanted = [1 - first, first * (1 - second), first * second * (1 - third), first * second * third]
    np.testing.assert_allclose(Ordinal().probabilities(logits)[0], wanted, atol=1e-15)
    assert Ordinal().answers(logits)[0] == 1  # above grade 0, and 0.88 * 0.27 is not above grade 1
