"""Losses of tasks and remedies are those of plain formulas; without an option nothing changes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression, SingleLabel
from foldtune.training.optim.objective import class_weights, evenly_drawn, objective
from foldtune.training.recipe import Recipe, recipe_values
from foldtune.training.regularise import loss_of

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 6 + [3] * 4)


def logits(rows=8, outputs=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, outputs))).float()


WANTED = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0])


def of(remedy, **more):
    return objective(SingleLabel(), Recipe(imbalance=remedy, **more), LABELS)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_a_remedy_it_is_the_very_loss_of_before(smoothing):
    found = of("none", label_smoothing=smoothing)(logits(), WANTED)
    assert torch.equal(found, loss_of(logits(), WANTED, smoothing))
    assert torch.equal(of("sampler", label_smoothing=smoothing)(logits(), WANTED), found)


def test_weights_are_scikit_learns_and_the_loss_a_weighted_mean():
    weights = class_weights("weighted", LABELS)
    theirs = compute_class_weight("balanced", classes=np.arange(4), y=LABELS)
    np.testing.assert_allclose(weights, theirs, rtol=1e-12)
    each = F.cross_entropy(logits(), WANTED, reduction="none")
    wanted = (torch.from_numpy(weights).float()[WANTED] * each).mean()
    torch.testing.assert_close(of("weighted")(logits(), WANTED), wanted)


def test_effective_numbers_are_the_papers():
    rest = 1 - 1 / len(LABELS)
    raw = np.array([(1 - rest) / (1 - rest**n) for n in (60, 30, 6, 4)])
    weights = class_weights("effective", LABELS)
    np.testing.assert_allclose(weights / weights[0], raw / raw[0], rtol=1e-12)
    assert weights[LABELS].mean() == pytest.approx(1.0)


def test_logits_are_adjusted_by_the_classes_shares():
    shares = torch.tensor([0.6, 0.3, 0.06, 0.04])
    wanted = F.cross_entropy(logits() + shares.log(), WANTED)
    torch.testing.assert_close(of("adjusted")(logits(), WANTED), wanted)


@pytest.mark.parametrize("remedy", ["weighted", "effective", "adjusted"])
def test_mixed_labels_and_classes_without_an_image_are_taken(remedy):
    mixed = F.one_hot(WANTED, 4).float() * 0.7 + 0.075
    found = of(remedy, mixup=0.5)(logits(outputs=6), mixed)
    assert torch.isfinite(found)


def test_classes_are_drawn_evenly_and_alike_when_repeated():
    rows = np.arange(100, 200)
    labels = np.concatenate([np.zeros(100, int), LABELS])
    recipe = Recipe(imbalance="sampler")
    drawn = np.concatenate([evenly_drawn(rows, labels, recipe, 0, e) for e in range(1, 41)])
    counts = np.bincount(labels[drawn]) / len(drawn)
    # 4,000 draws: a standard deviation of 0.007.
    np.testing.assert_allclose(counts, 0.25, atol=0.03)
    one, two = (evenly_drawn(rows, labels, recipe, 3, 2) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert evenly_drawn(rows, labels, Recipe(), 3, 2) is rows


def test_corn_is_the_loss_of_conditional_questions():
    grades = torch.tensor([0, 1, 3, 2])
    found = objective(Ordinal(), Recipe(), grades.numpy())(logits(4, 3), grades)
    total = asked = 0.0
    for row, grade in zip(logits(4, 3), grades.tolist(), strict=True):
        for step in range(3):
            if grade >= step:  # the question is asked of images that are above step - 1
                above = torch.tensor(float(grade > step))
                total += F.binary_cross_entropy_with_logits(row[step], above).item()
                asked += 1
    assert found.item() == pytest.approx(total / asked, rel=1e-6)


def test_several_labels_and_numbers():
    truth = (logits(8, 3, 1) > 0).float()
    found = objective(MultiLabel(), Recipe(), truth.numpy())(logits(8, 3), truth)
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits(8, 3), truth))
    task, numbers = Regression(mean=3.0, std=2.0), torch.tensor([1.0, 5.0])
    found = objective(task, Recipe(), numbers.numpy())(torch.tensor([[0.0], [2.0]]), numbers)
    assert found.item() == pytest.approx((1.0 + 1.0) / 2)


@pytest.mark.parametrize("task", [MultiLabel(), Ordinal(), Regression()])
@pytest.mark.parametrize("option", [{"label_smoothing": 0.1}, {"imbalance": "sampler"}])
def test_options_of_classes_are_refused_for_other_tasks(task, option):
    with pytest.raises(InputError, match=next(iter(option))):
        objective(task, Recipe(**option), LABELS)


def test_what_came_later_is_stated_only_where_it_is_used():
    assert "imbalance" not in recipe_values(Recipe())
    assert recipe_values(Recipe(imbalance="weighted"))["imbalance"] == "weighted"
    assert Recipe(**recipe_values(Recipe(imbalance="weighted"))).imbalance == "weighted"
