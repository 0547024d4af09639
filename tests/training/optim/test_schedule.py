from itertools import pairwise

import pytest
from timm.scheduler import CosineLRScheduler
from torch import nn, optim

from foldtune.training.optim.schedule import learning_rate, study_epoch_rate, warmup_steps
from foldtune.training.recipe import Recipe

STUDY = Recipe(epochs=100, lr=1e-3, warmup_epochs=10, schedule="study-epoch")


def rates(recipe, steps_per_epoch):
    total, warmup = recipe.epochs * steps_per_epoch, warmup_steps(recipe, steps_per_epoch)
    return [learning_rate(step, total, warmup, recipe) for step in range(total)]


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
@pytest.mark.parametrize("warmup_epochs", [0, 0.3, 2, 9.99])
def test_peak_and_end_are_reached_exactly(warmup_epochs, steps_per_epoch):
    recipe = Recipe(epochs=10, lr=0.3, warmup_epochs=warmup_epochs)
    rate = rates(recipe, steps_per_epoch)
    warmup = warmup_steps(recipe, steps_per_epoch)
    assert rate[warmup] == max(rate) == 0.3
    assert rate[0] == (recipe.warmup_lr if warmup else 0.3)
    assert rate[-1] == (recipe.min_lr if warmup < len(rate) - 1 else 0.3)


def test_rises_then_falls():
    recipe = Recipe(epochs=10, warmup_epochs=3)
    rate, warmup = rates(recipe, 5), 15
    assert all(a < b for a, b in pairwise(rate[: warmup + 1]))
    assert all(a > b for a, b in pairwise(rate[warmup:]))


def test_cosine_is_halfway_in_the_middle():
    recipe = Recipe(epochs=21, lr=1.0, min_lr=0.0, warmup_epochs=0)
    assert rates(recipe, 1)[10] == pytest.approx(0.5)


def test_one_step_runs_at_the_peak():
    assert rates(Recipe(epochs=1, warmup_epochs=0), 1) == [1e-3]


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 1e-6), (1, 1e-6), (2, 1.009e-4), (11, 9.758e-4), (99, 1.098e-5)],
)
def test_study_schedule_gives_the_published_rates(epoch, rate):
    assert study_epoch_rate(epoch, STUDY) == pytest.approx(
        rate, rel=5e-4
    )  # four digits are published


def test_study_schedule_is_timm_told_one_epoch_late():
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=STUDY.lr)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=100, lr_min=1e-5, warmup_t=10, warmup_lr_init=1e-6
    )
    for epoch in range(100):
        rate = optimizer.param_groups[0]["lr"]
        assert study_epoch_rate(epoch, STUDY) == pytest.approx(rate, rel=1e-12)
        scheduler.step(epoch)


def test_study_schedule_changes_between_epochs_only():
    rate = rates(STUDY, 12)
    assert rate == [study_epoch_rate(step // 12, STUDY) for step in range(1200)]
    assert max(rate) < STUDY.lr
