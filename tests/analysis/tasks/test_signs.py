"""Exact p-values are exact, and Holm's correction is his."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test, wilcoxon

from foldtune.analysis.tasks.signs import holm, sign_flip_p


def test_equal_sizes_give_mcnemars_exact_test():
    found = sign_flip_p(np.array([1] * 9 + [-1] * 2 + [0] * 50))
    assert found == pytest.approx(binomtest(2, 11).pvalue)


def test_unequal_sizes_give_the_share_of_sign_assignments():
    values = np.array([3, -1, 4, 1, -5, 9])
    sums = [abs(np.dot(s, np.abs(values))) for s in product((1, -1), repeat=len(values))]
    assert sign_flip_p(values) == pytest.approx(np.mean(np.array(sums) >= abs(values.sum())))


@pytest.mark.parametrize(("more", "less"), [(80, 50), (700, 600), (5100, 4900)])
def test_it_is_exact_beyond_sixty_differences(more, less):
    # Two were said by the normal distribution: 0.00851 for 0.0107 at 80 against 50.
    found = sign_flip_p(np.array([1] * more + [-1] * less))
    assert found == pytest.approx(binomtest(less, more + less).pvalue, rel=1e-9)


def test_differences_of_one_common_size_are_those_of_size_one():
    assert sign_flip_p(np.array([7] * 9 + [-7] * 2)) == pytest.approx(binomtest(2, 11).pvalue)


def test_too_many_sums_to_count_are_drawn():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1000, 100_000, 300)
    steps = sizes * np.where(rng.random(300) < 0.56, 1, -1)
    known = permutation_test((steps.astype(float),), np.mean, permutation_type="samples",
                             n_resamples=20_000, rng=1)  # fmt: skip
    # Drawn on both sides: a standard error of 0.0015 at 0.05.
    assert sign_flip_p(steps) == pytest.approx(known.pvalue, abs=0.008)
    assert sign_flip_p(sizes) == pytest.approx(1 / 200_001)


def test_signed_ranks_are_wilcoxons_exact_test():
    gaps = np.random.default_rng(1).permutation(np.arange(1, 41)) * np.where(
        np.random.default_rng(2).random(40) < 0.7, 1, -1
    )
    assert sign_flip_p(gaps) == pytest.approx(wilcoxon(gaps, method="exact").pvalue)


def test_nothing_differs_where_all_differences_are_zero():
    assert sign_flip_p(np.zeros(5)) == 1.0


def test_holm_is_his_own_step_down():
    # 4 x 0.01, then max with 3 x 0.02, 2 x 0.03, 1 x 0.04.
    assert holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])) == [1.0, 1.0]
