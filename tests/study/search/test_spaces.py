"""Equal budgets; more trials only add; each method's own space; fixed settings stay."""

import math

import pytest

from foldtune.core.method import LogRange
from foldtune.errors import InputError
from foldtune.methods import SSF, Full, LoRA, catalogue
from foldtune.study.fit import recipe_for
from foldtune.study.search.spaces import Entrant, candidates, plan_values
from foldtune.study.terms.settings import default_recipe
from foldtune.training.recipe import Recipe

BASE = default_recipe(10)


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_method_gets_the_same_number_of_different_trials(name):
    found = candidates(Entrant.parse(name), BASE, 6, 0)
    assert len(found) == 6
    assert len({(repr(m), r) for m, r in found}) == 6


def test_more_trials_only_add():
    entrant = Entrant.parse("LoRA")
    assert candidates(entrant, BASE, 9, 0)[:3] == candidates(entrant, BASE, 3, 0)


def test_a_bare_name_has_its_own_settings_searched_too():
    ranks = {m.rank for m, _ in candidates(Entrant.parse("LoRA"), BASE, 16, 0)}
    assert len(ranks) > 1
    fixed = {m for m, _ in candidates(Entrant.parse("LoRA(rank=8)"), BASE, 16, 0)}
    assert fixed == {LoRA(rank=8)}


def test_full_fine_tuning_gets_small_learning_rates():
    rates = [r.lr for _, r in candidates(Entrant.parse("Full"), BASE, 32, 0)]
    assert min(rates) < 6e-5
    assert all(3e-5 <= lr <= 1e-3 for lr in rates)


def test_a_range_says_what_is_tried_first_or_its_middle_is():
    method = Full()
    for sampler in ("sobol", "random"):
        entrant = Entrant("Full", method, {"lr": LogRange(1e-4, 1e-2)})
        assert plan_values(entrant, 1, 0, sampler) == [{"lr": 1e-3}]
        entrant = Entrant("Full", method, {"lr": LogRange(1e-4, 1e-2, usual=2e-3)})
        assert plan_values(entrant, 1, 0, sampler) == [{"lr": 2e-3}]
    for wrong in ((0.0, 1.0), (1e-2, 1e-4), (1e-4, 1e-2, 1e-1)):
        with pytest.raises(InputError, match="is no range"):
            LogRange(*wrong)
    # At the middle of its range Full stayed three points behind a plain loop (docs/findings.md).
    assert recipe_for(method).lr == Full.space["lr"].usual == 3e-4


def test_four_trials_leave_no_quarter_of_a_range_untried():
    # Three points of the sequence beside the usual value left the lowest 40 % of every range empty.
    for usual in (None, 1.5e-4, 8e-4, 2e-3, 1e-2):
        entrant = Entrant("Full", Full(), {"lr": LogRange(1e-4, 1e-2, usual=usual)})
        for seed in range(20):
            rates = sorted(v["lr"] for v in plan_values(entrant, 4, seed))
            for quarter, rate in enumerate(rates):
                share = math.log(rate / 1e-4) / math.log(100)
                # A rate has two digits: 0.5 in 10 at most.
                assert quarter - 0.05 < 4 * share < quarter + 1.05, (usual, seed, rates)
    # What is chosen is spread round the method's own value too: each of four values once.
    for name, values in (("rank", (2, 4, 8, 16)), ("weight_decay", (0.0, 1e-4, 1e-3, 1e-2))):
        entrant = Entrant("LoRA", LoRA(rank=8), {name: values})
        usual = {"rank": 8, "weight_decay": Recipe().weight_decay}[name]
        tried = [v.get(name, usual) for v in plan_values(entrant, 4, 0)]
        assert sorted(tried) == list(values)


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_no_method_has_better_luck_with_its_learning_rates(sampler):
    # Every label had a scramble of its own: trial 2 was at 0.1 of one range and at 0.6 of another.
    def shares(name):
        entrant = Entrant.parse(name)
        low, high = entrant.space["lr"].low, entrant.space["lr"].high
        return [math.log(v["lr"] / low) / math.log(high / low)
                for v in plan_values(entrant, 12, 3, sampler)]  # fmt: skip

    wanted = shares("LoRA")
    assert len(set(wanted)) > 9
    assert shares("Full")[1:] == pytest.approx(wanted[1:], abs=0.02)  # its first has another share
    for name in ("SSF", "BitFit", "AdaptFormer", "VPTDeep"):
        # A rate has two digits: 0.5 in 10 at most.
        assert shares(name) == pytest.approx(wanted, abs=0.02), name


def test_equal_grids_are_drawn_alike():
    space = {"lr": (1e-4, 1e-3, 1e-2), "weight_decay": (0.0, 1e-3)}
    one, other = (plan_values(Entrant(n, m, space), 3, 0, "grid")
                  for n, m in (("LoRA", LoRA()), ("SSF", SSF())))  # fmt: skip
    assert one == other


def test_the_seed_moves_the_later_trials():
    entrant = Entrant.parse("SSF")
    assert candidates(entrant, BASE, 4, 0)[0] == candidates(entrant, BASE, 4, 1)[0]
    assert candidates(entrant, BASE, 4, 0)[1:] != candidates(entrant, BASE, 4, 1)[1:]


def test_no_trials_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        candidates(Entrant.parse("SSF"), BASE, 0, 0)


def test_a_grid_is_every_choice_with_every_other_and_the_last_name_varies_fastest():
    space = {"rank": (4, 8), "lr": (1e-3, 1e-2), "weight_decay": (0.0,)}
    found = plan_values(Entrant("LoRA", LoRA(), space), None, 0, "grid")
    assert [(v["rank"], v["lr"]) for v in found] == [(4, 1e-3), (4, 1e-2), (8, 1e-3), (8, 1e-2)]


def test_a_range_is_its_ends_and_its_middle_in_a_grid():
    rates = {v["lr"] for v in plan_values(Entrant.parse("SSF"), None, 0, "grid")}
    assert rates == {3e-4, 3e-3, 3e-2}


@pytest.mark.parametrize("sampler", ["grid", "random", "sobol"])
def test_a_budget_is_kept_and_a_larger_one_only_adds(sampler):
    entrant = Entrant.parse("LoRA")
    small, large = (plan_values(entrant, n, 0, sampler) for n in (3, 7))
    assert len(large) == 7
    assert large[:3] == small
    # Independent draws may meet: rates have two digits.
    least = 6 if sampler == "random" else 7
    assert len({tuple(sorted(v.items())) for v in large}) >= least


def test_published_values_are_tried_first_within_the_budget():
    entrant = Entrant.parse("LoRA").starting([{"rank": 32, "lr": 5e-3, "unknown": 1}])
    found = candidates(entrant, BASE, 3, 0)
    assert len(found) == 3
    assert (found[0][0].rank, found[0][1].lr) == (32, 5e-3)


def test_settings_that_are_spelt_keep_their_value_in_a_protocols_space():
    given = {"rank": (1, 2), "scale": (0.1, 1.0), "lr": (1e-3,)}
    assert list(Entrant.parse("Houlsby(rank=8)", given).space) == ["scale", "lr"]
    assert list(Entrant.parse("Houlsby", given).space) == ["rank", "scale", "lr"]
    assert list(Entrant.parse("BitFit", given).space) == ["lr"]


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InputError, match="unknown search 'sobel'; choose from: sobol"):
        plan_values(Entrant.parse("SSF"), 2, 0, "sobel")
