"""Ranking over tasks agrees with the literature's worked example and with SciPy."""

from itertools import pairwise, permutations, product

import numpy as np
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import friedmanchisquare, kendalltau, rankdata, wilcoxon

from foldtune.analysis.tasks.ranks import (
    Scores,
    friedman,
    kendall,
    nemenyi,
    rank,
    rank_methods,
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
    means = {row["method"]: row["rank"]["value"] for row in rank_methods(table, 200)}
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


# Demsar (JMLR 2006), table 5 (a): Nemenyi's q at 0.05, by the number of methods.
NEMENYI = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102,
           10: 3.164}  # fmt: skip


@pytest.mark.parametrize(("methods", "q"), NEMENYI.items())
@pytest.mark.parametrize("tasks", [2, 19])
def test_the_critical_difference_is_the_published_one(methods, q, tasks):
    told = nemenyi(scores(np.random.default_rng(0).normal(size=(methods, tasks))))
    assert told["q"] == pytest.approx(q, abs=1.1e-3)  # the table has three decimals, one rounded up
    wanted = told["q"] * np.sqrt(methods * (methods + 1) / (6 * tasks))
    assert told["critical_difference"] == pytest.approx(wanted)


def test_one_task_has_no_critical_difference_and_parts_nobody():
    told = nemenyi(scores([[1], [2], [3]]))
    assert told["critical_difference"] is None
    assert told["cliques"] == [["m2", "m1", "m0"]]


def test_cliques_are_the_longest_runs_that_are_closer_than_the_critical_difference():
    # Mean ranks 1, 2, 3, 4, 5 on 20 tasks; the critical difference of five methods is 1.364.
    steps = scores(np.arange(5)[::-1, None] + np.zeros(20))
    names = [f"m{i}" for i in range(5)]
    told = nemenyi(steps)
    assert [row["rank"] for row in told["ranks"]] == [1, 2, 3, 4, 5]
    assert told["cliques"] == [[a, b] for a, b in pairwise(names)]
    # On five tasks it is 2.728: three in a row, and no part of a longer run is told again.
    told = nemenyi(scores(steps.values[:, :5]))
    assert told["cliques"] == [names[i : i + 3] for i in range(3)]


@pytest.mark.parametrize(("methods", "tasks"), [(3, 4), (4, 14), (7, 30)])
@pytest.mark.parametrize("decimals", [9, 1])  # with one decimal, many ties
def test_friedman_is_scipys_and_iman_davenports_f_that_of_an_analysis_of_ranks(
    methods, tasks, decimals
):
    rng = np.random.default_rng(methods)
    values = (rng.normal(size=(methods, tasks)) + np.linspace(0, 0.8, methods)[:, None]).round(
        decimals
    )
    told, wanted = friedman(scores(values)), friedmanchisquare(*values)
    assert told["statistic"] == pytest.approx(wanted.statistic)
    assert told["p"] == pytest.approx(wanted.pvalue)
    ranks = rankdata(values, axis=0)
    between = tasks * ((ranks.mean(1) - ranks.mean()) ** 2).sum()
    rest = ((ranks - ranks.mean()) ** 2).sum() - between
    free = (methods - 1) * (tasks - 1)
    f = between / (methods - 1) / (rest / free)
    assert told["f"] == pytest.approx(f)
    assert told["f_p"] == pytest.approx(f_distribution.sf(f, methods - 1, free))
    assert told["differ"] == (told["f_p"] < 0.05)


def test_methods_in_the_same_order_everywhere_differ_without_a_finite_f():
    told = friedman(scores([[1] * 6, [2] * 6, [3] * 6]))
    assert (told["f"], told["f_p"], told["differ"]) == (None, 0.0, True)


@pytest.mark.parametrize("shape", [(2, 9), (5, 1)])
def test_two_methods_or_one_task_have_no_friedman_test(shape):
    assert friedman(scores(np.random.default_rng(0).normal(size=shape))) is None


@pytest.mark.parametrize("tasks", [3, 5, 8])
@pytest.mark.parametrize("shift", [-1.0, 0.2, 1.5])
def test_the_signed_rank_test_counts_all_signs_of_ranks_that_share_ties(tasks, shift):
    gap = np.random.default_rng(tasks).normal(shift, 1, tasks).round(0)
    (row,) = wilcoxon_pairs(scores([gap, np.zeros(tasks)]))
    kept = gap[gap != 0]
    ranks, signs = rankdata(np.abs(kept)), np.array(list(product([-1, 1], repeat=len(kept))))
    sums = np.abs(signs @ ranks)
    assert row["p"] == pytest.approx((sums >= np.abs(ranks @ np.sign(kept)) - 1e-9).mean())


def test_pairs_are_corrected_for_their_number_step_by_step():
    values = np.random.default_rng(3).normal(size=(4, 9)) + np.array([0, 0.4, 0.9, 2])[:, None]
    rows = wilcoxon_pairs(scores(values))
    plain = [wilcoxon(values[i] - values[j], method="exact").pvalue
             for i in range(4) for j in range(i + 1, 4)]  # fmt: skip
    corrected, largest = dict.fromkeys(range(6), 0.0), 0.0
    for step, pair in enumerate(np.argsort(plain)):
        largest = max(largest, min(1.0, (6 - step) * plain[pair]))
        corrected[pair] = largest
    assert [row["p"] for row in rows] == pytest.approx(list(corrected.values()))
    assert [(row["a"], row["b"]) for row in rows[:2]] == [NAMES[:2], (NAMES[0], NAMES[2])]
    assert rows[0]["median_difference"] == pytest.approx(np.median(values[0] - values[1]))


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
    rows = {r["method"]: r for r in rank_methods(scores([[2, 1], [2, 3], [1, 2]]), 50)}
    assert rows["m0"]["rank"]["value"] == (1.5 + 3) / 2
    assert rows["m0"]["frequency"] == [1, 0, 1]
    assert rows["m1"]["frequency"] == [2, 0, 0]
    # Scores are shares: what differs in the third decimal is no tie.
    rows = rank_methods(scores([[0.701, 0.3], [0.702, 0.2]]), 20)
    assert {row["method"]: row["frequency"] for row in rows} == {"m0": [1, 1], "m1": [1, 1]}


def test_opposite_groups_have_a_tau_of_minus_one():
    values = np.array([[1, 1, 4, 4], [2, 2, 3, 3], [3, 3, 2, 2], [4, 4, 1, 1]])
    (row,) = kendall(scores(values, ("a", "a", "b", "b")))
    assert row["tau"] == pytest.approx(-1)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_likeness_of_groups_is_scipys_tau_in_both_directions(sign):
    rng = np.random.default_rng(5)
    trend = np.arange(5)[:, None]
    values = np.concatenate([trend, sign * trend], 1) + rng.normal(size=(5, 2))
    (row,) = kendall(scores(values, ("a", "b")))
    wanted = kendalltau(values[:, 0], values[:, 1])
    assert (row["a"], row["b"]) == ("a", "b")
    assert row["tau"] == pytest.approx(wanted.statistic)
    assert sign * row["tau"] > 0.3
    # And by counting: how many orders of five are as far from none, in either direction.
    taus = [kendalltau(values[:, 0], order).statistic for order in permutations(range(5))]
    far = np.abs(taus) >= abs(row["tau"]) - 1e-9
    assert row["p"] == pytest.approx(wanted.pvalue) == pytest.approx(far.mean())


def test_groups_whose_methods_all_tie_have_no_likeness():
    (row,) = kendall(scores([[1, 1], [1, 2], [1, 3]], ("a", "b")))
    assert (row["tau"], row["p"]) == (None, None)


def test_groups_and_the_whole_are_resampled_as_often_as_asked():
    values = np.random.default_rng(0).normal(size=(5, 18))
    table = scores(values, ("a", "b") * 9)
    told = rank(table, 7)
    assert told["overall"] == rank_methods(table, 7) != rank_methods(table, 2000)
    group = table.of_group("a")
    assert told["groups"]["a"] == rank_methods(group, 7) != rank_methods(group)


def test_noise_of_rounding_parts_no_ranks():
    rows = rank_methods(scores([[0.1 + 0.2, 1], [0.3, 1 + 1e-12]]), 20)
    assert [row["rank"]["value"] for row in rows] == [1.5, 1.5]


def test_a_group_is_ranked_by_its_own_tasks_alone():
    table = scores([[1, 5, 1], [2, 4, 2], [3, 3, 3]], ("a", "b", "a"))
    told = rank(table, 20)
    assert (told["methods"], told["tasks"]) == (3, 3)
    assert [row["method"] for row in told["groups"]["a"]] == ["m2", "m1", "m0"]
    assert [row["method"] for row in told["groups"]["b"]] == ["m0", "m1", "m2"]
    assert table.of_group("a").tasks == ("t0", "t2")
    assert told["overall"][0]["score"] == pytest.approx(3)
    assert len(told["between_groups"]) == 1
    assert rank(scores([[1, 5], [2, 4]]), 20)["between_groups"] == []


@pytest.mark.parametrize(
    ("values", "groups", "said"),
    [
        ([[1, np.nan], [1, 2]], None, "every task"),
        ([[1, 2]], None, "two or more methods"),
        ([[1, 2], [3, 4]], ("a",), "2 tasks need as many groups, not 1"),
    ],
)
def test_a_ranking_refuses_missing_scores(values, groups, said):
    with pytest.raises(InputError, match=said):
        scores(values, groups)
    with pytest.raises(InputError, match=r"shape \(2, 2\) for 2 methods and 3 tasks"):
        Scores(("a", "b"), ("x", "y", "z"), ("g",) * 3, np.zeros((2, 2)))
