"""Ranking over tasks agrees with the literature's worked example and with SciPy."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from foldtune.analysis.ranks import (
    Scores,
    friedman,
    kendall,
    nemenyi,
    rank,
    ranked,
    wilcoxon_pairs,
)
from foldtune.errors import InputError

# Demsar (JMLR 2006), table 6: AUC of C4.5 with four settings on 14 data sets.
DEMSAR = np.array([
    [.763, .599, .954, .628, .882, .936, .661, .583, .775, 1.0, .940, .619, .972, .957],
    [.768, .591, .971, .661, .888, .931, .668, .583, .838, 1.0, .962, .666, .981, .978],
    [.771, .590, .968, .654, .886, .916, .609, .563, .866, 1.0, .965, .614, .9751, .946],
    [.798, .569, .967, .657, .898, .931, .685, .625, .875, 1.0, .962, .669, .975, .970],
])  # fmt: skip
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")


def scores(values, groups=None):
    values = np.asarray(values, float)
    methods = NAMES if len(values) == 4 else tuple(f"m{i}" for i in range(len(values)))
    tasks = tuple(f"t{i}" for i in range(values.shape[1]))
    return Scores(methods, tasks, groups or ("all",) * len(tasks), values)


def test_demsars_example_comes_out():
    table = scores(DEMSAR)
    means = {row["method"]: row["rank"]["value"] for row in ranked(table, 200)}
    wanted = {"C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert means == pytest.approx(wanted, abs=1e-3)
    # The paper's chi squared; correcting it for ties, as we do, can only raise it.
    plain = 12 * 14 / (4 * 5) * (sum(m**2 for m in means.values()) - 4 * 5**2 / 4)
    assert plain == pytest.approx(9.28, abs=0.01)
    assert friedman(table)["statistic"] > plain
    assert friedman(table)["differ"]
    # At 0.05: q = 2.569, critical difference 1.25.
    told = nemenyi(table)
    assert told["q"] == pytest.approx(2.569, abs=1e-3)
    assert told["critical_difference"] == pytest.approx(1.25, abs=5e-3)
    assert told["cliques"] == [["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]]


def test_the_signed_rank_test_is_scipys_where_that_is_exact():
    gap = np.array([0.3, -0.1, 0.45, 0.2, 0.8, -0.05, 0.6, 0.7])
    (row,) = wilcoxon_pairs(scores([gap, np.zeros(8)]))
    assert row["p"] == pytest.approx(wilcoxon(gap, method="exact").pvalue)
    assert (row["wins"], row["losses"]) == (6, 2)


def test_ties_and_zeros_keep_the_signed_rank_test_exact():
    # Five equal wins and a draw: 2 / 2^5.
    (row,) = wilcoxon_pairs(scores([[1, 1, 1, 1, 1, 0], [0] * 6]))
    assert row["p"] == pytest.approx(2 / 32)
    assert not row["distinguishable"]


def test_methods_of_noise_are_not_distinguishable():
    rng = np.random.default_rng(0)
    told = rank(scores(rng.normal(size=(5, 12))), 100)
    assert not told["friedman"]["differ"]
    assert not any(row["distinguishable"] for row in told["pairs"])
    assert len(told["nemenyi"]["cliques"][0]) == 5


def test_ranks_share_ties_and_places_are_counted():
    rows = {r["method"]: r for r in ranked(scores([[2, 1], [2, 3], [1, 2]]), 50)}
    assert rows["m0"]["rank"]["value"] == (1.5 + 3) / 2
    assert rows["m0"]["frequency"] == [1, 0, 1]
    assert rows["m1"]["frequency"] == [2, 0, 0]


def test_opposite_groups_have_a_tau_of_minus_one():
    values = np.array([[1, 1, 4, 4], [2, 2, 3, 3], [3, 3, 2, 2], [4, 4, 1, 1]])
    (row,) = kendall(scores(values, ("a", "a", "b", "b")))
    assert row["tau"] == pytest.approx(-1)


def test_a_ranking_refuses_missing_scores():
    with pytest.raises(InputError, match="every task"):
        scores([[1, np.nan], [1, 2]])
