"""Equal budgets; more trials only add; each method's own space; fixed settings stay."""

import pytest

from foldtune.errors import InputError
from foldtune.methods import LoRA, catalogue
from foldtune.study.search import Entrant, candidates
from foldtune.study.settings import default_recipe

BASE = default_recipe(10)


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_method_gets_the_same_number_of_different_trials(name):
    found = candidates(Entrant.named(name), BASE, 6, 0)
    assert len(found) == 6
    assert len({(repr(m), r) for m, r in found}) == 6


def test_more_trials_only_add():
    entrant = Entrant.named("LoRA")
    assert candidates(entrant, BASE, 9, 0)[:3] == candidates(entrant, BASE, 3, 0)


def test_a_bare_name_has_its_own_settings_searched_too():
    ranks = {m.rank for m, _ in candidates(Entrant.named("LoRA"), BASE, 16, 0)}
    assert len(ranks) > 1
    fixed = {m for m, _ in candidates(Entrant.named("LoRA(rank=8)"), BASE, 16, 0)}
    assert fixed == {LoRA(rank=8)}


def test_full_fine_tuning_gets_small_learning_rates():
    rates = [r.lr for _, r in candidates(Entrant.named("Full"), BASE, 32, 0)]
    assert min(rates) < 3e-5
    assert all(1e-5 <= lr <= 3e-3 for lr in rates)


def test_the_seed_moves_the_later_trials():
    entrant = Entrant.named("SSF")
    assert candidates(entrant, BASE, 4, 0)[0] == candidates(entrant, BASE, 4, 1)[0]
    assert candidates(entrant, BASE, 4, 0)[1:] != candidates(entrant, BASE, 4, 1)[1:]


def test_no_trials_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        candidates(Entrant.named("SSF"), BASE, 0, 0)
