"""Searches by ask and tell: rungs are whole, budgets are kept, contradictions are refused."""

import math

import pytest

from foldtune.errors import InputError
from foldtune.study.search.halving import Halving, shorten
from foldtune.study.search.plan import Plan
from foldtune.study.search.searches import promote, search_for
from foldtune.study.search.spaces import Entrant
from foldtune.study.terms.settings import default_recipe
from foldtune.training.optim.schedule import learning_rate, warmup_steps

BASE = default_recipe(18)
SSF = Entrant.parse("SSF")


def accuracy(trial):
    """A made-up objective with one best learning rate."""
    return 1 - abs(math.log10(trial.recipe.lr / 1e-2))


def finish(search, order=None, judge=None):
    """Run a search to its end; every batch of trials, and what was told."""
    judge = judge or row
    batches = []
    while trials := search.ask():
        # Rows are made in another order than they are told, as a pool of workers would.
        made = {t.number: judge(t) for t in (trials if order is None else order(trials))}
        search.tell([made[t.number] for t in trials])
        batches.append(trials)
    return batches


def row(trial):
    return {
        "verdict": "finished", "val_accuracy": accuracy(trial), "trainable": 1,
        "val_loss": 1 - accuracy(trial),
        "recipe": {"lr": trial.recipe.lr, "weight_decay": trial.recipe.weight_decay},
    }  # fmt: skip


def test_halving_keeps_the_best_of_each_rung_for_more_epochs():
    rungs = finish(search_for(SSF, BASE, Plan(trials=9, halving=Halving(3, 3))))
    assert [len(rung) for rung in rungs] == [9, 3, 1]
    assert [rung[0].recipe.epochs for rung in rungs] == [2, 6, 18]
    assert [rung[0].stage for rung in rungs] == ["rung", "rung", "trial"]
    assert accuracy(rungs[2][0]) == max(map(accuracy, rungs[0]))


def judged(accuracy, loss, verdict="finished"):
    recipe = {"lr": 1e-3, "weight_decay": 0.0}
    return {
        "verdict": verdict, "val_accuracy": accuracy, "val_loss": loss, "trainable": 1,
        "recipe": recipe,
    }  # fmt: skip


def test_twins_of_a_rung_do_not_take_the_places_of_others():
    rows = [judged(0.9, 0.30001), judged(0.8, 0.4), judged(0.9, 0.30002), judged(0.7, 0.5)]
    assert promote(rows, spread=True) == [0, 1, 3, 2]
    assert promote(rows, spread=False) == [0, 1, 3, 2]


def test_a_rung_is_judged_by_accuracy_and_loss_alike():
    rows = [judged(0.85, 0.46), judged(0.84, 0.44), judged(0.83, 0.47), judged(0.5, 2.0)]
    assert promote(rows, spread=False) == [0, 1, 2, 3]
    rows = [judged(0.85, 0.5), judged(0.84, 0.6), judged(0.83, 0.4)]
    assert promote(rows, spread=False) == [0, 2, 1]


def test_the_best_of_every_decade_of_rates_goes_on_first():
    rows = [judged(0.92 - 0.01 * i, 0.3 + 0.01 * i) for i in range(4)]
    for place, lr in enumerate((3e-4, 5e-4, 3e-2, 3e-3)):
        rows[place]["recipe"] = {"lr": lr, "weight_decay": 0.0}
    assert promote(rows, spread=True) == [0, 2, 3, 1]
    assert promote(rows, spread=False) == [0, 1, 2, 3]


def test_decades_are_spread_on_rungs_far_from_the_end_alone():
    def best_is_lowest(trial):
        # The lower the rate, the better: all decades but one are worse than every run of it.
        return {**judged(1 - trial.recipe.lr, trial.recipe.lr), "recipe": vars(trial.recipe)}

    search = search_for(SSF, BASE, Plan("random", trials=27, halving=Halving(3, 3)))
    decades = []
    while trials := search.ask():
        decades.append({math.floor(math.log10(t.recipe.lr)) for t in trials})
        search.tell([best_is_lowest(t) for t in trials])
    assert [len(found) for found in decades] == [3, 3, 1]


def test_what_diverged_or_has_no_loss_is_not_promoted_before_others():
    lost = judged(None, None, "diverged: at once")
    assert promote([lost, judged(0.5, None), judged(0.6, 0.3)], spread=True) == [2, 1]


def test_every_rung_has_a_complete_schedule():
    for trials in finish(search_for(SSF, BASE, Plan(trials=9, halving=Halving(3, 3)))):
        recipe, steps = trials[0].recipe, 10
        total, warmup = recipe.epochs * steps, warmup_steps(trials[0].recipe, 10)
        rates = [learning_rate(i, total, warmup, recipe) for i in range(total)]
        assert rates[0] == recipe.warmup_lr
        assert max(rates) == recipe.lr
        assert rates[-1] == recipe.min_lr


def test_halving_costs_a_third_at_most_of_all_trials():
    for trials in (9, 10, 16, 27):
        halving = Halving(3, 3)
        pairs = zip(halving.epochs(27), halving.counts(trials), strict=True)
        assert sum(epochs * kept for epochs, kept in pairs) <= trials * 27 / 3


@pytest.mark.parametrize("epochs", range(1, 101))
def test_the_last_rungs_recipe_is_that_of_a_search_without_rungs(epochs):
    recipe = default_recipe(epochs)  # else its runs would be computed twice
    assert shorten(recipe, epochs) == recipe


def test_a_shortened_recipe_warms_up_in_proportion():
    assert shorten(BASE, 6).warmup_epochs == pytest.approx(BASE.warmup_epochs / 3)


def test_when_every_run_of_a_rung_diverges_the_search_ends():
    search = search_for(SSF, BASE, Plan(trials=3, halving=Halving(2, 3)))
    lost = {"verdict": "diverged: at once", "val_accuracy": None, "trainable": 1}
    search.tell([lost] * len(search.ask()))
    assert search.ask() == []


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Plan(sampler="tpe", halving=Halving()), "halving needs all configurations at onc"),
        (lambda: Plan(sampler="hyperband"), "unknown search 'hyperband'"),
        (lambda: Plan(ties="first"), "unknown rule for ties"),
        (lambda: Plan(trials=0), "at least 1"),
        (lambda: Halving(1, 3), "halves nothing"),
        (lambda: Halving(3, 3).epochs(4), "4 epochs are too few"),
        (lambda: Halving(3, 3).counts(2), "--trials 9 or more"),
    ],
)
def test_contradictions_are_one_line(made, said):
    with pytest.raises(InputError, match=said) as caught:
        made()
    assert "\n" not in str(caught.value)


def test_tpe_starts_as_the_sobol_search():
    sobol = finish(search_for(SSF, BASE, Plan("sobol", 5)))[0]
    batches = finish(search_for(SSF, BASE, Plan("tpe", 8)))
    assert [t.recipe for t in batches[0]] == [t.recipe for t in sobol]


def test_tpe_keeps_its_budget_and_repeats_nothing():
    batches = finish(search_for(SSF, BASE, Plan("tpe", 14)))
    trials = [t for batch in batches for t in batch]
    assert [t.number for t in trials] == list(range(14))
    assert len({t.recipe for t in trials}) == 14
    assert [len(batch) for batch in batches] == [5, 4, 4, 1]


def test_tpe_asks_the_same_whatever_the_order_of_completion():
    plan = Plan("tpe", 11, seed=3)
    ordered = finish(search_for(SSF, BASE, plan))
    other = finish(search_for(SSF, BASE, plan), order=lambda trials: trials[::-1])
    assert ordered == other


@pytest.mark.parametrize("plan", [Plan("tpe", 14), Plan(trials=9, halving=Halving(3, 3))])
def test_a_search_goes_on_from_the_last_epoch_never_from_the_best(plan):
    def with_a_best(trial):
        # The worse a trial ends, the better its best epoch was.
        return row(trial) | {"val_best_accuracy": 2 - accuracy(trial)}

    usual = finish(search_for(SSF, BASE, plan))
    assert finish(search_for(SSF, BASE, plan), judge=with_a_best) == usual


def test_tpe_learns():
    trials = [t for batch in finish(search_for(SSF, BASE, Plan("tpe", 30))) for t in batch]
    found = [accuracy(t) for t in trials]
    assert sum(found[15:]) / 15 > sum(found[:5]) / 5
    assert max(found[5:]) > max(found[:5])


@pytest.mark.parametrize(("rates", "points"), [((1e-3, 1e-2, 1e-1), 3), ((), 1)])
def test_tpe_ends_where_a_space_is_used_up(rates, points):
    space = {"lr": rates} if rates else {}
    batches = finish(search_for(Entrant("SSF", SSF.method, space), BASE, Plan("tpe", 50)))
    assert 1 <= len({t.recipe.lr for batch in batches for t in batch}) <= points
    assert sum(map(len, batches)) < 50


def test_tpe_takes_published_values_outside_its_space():
    entrant = Entrant.parse("LoRA").starting([{"rank": 32, "lr": 0.2, "weight_decay": 1e-3}])
    trials = [t for batch in finish(search_for(entrant, BASE, Plan("tpe", 7))) for t in batch]
    assert trials[0].method.rank == 32
    assert len(trials) == 7
