"""Exact p-values are exact, and Holm's correction is his."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from foldtune.analysis.signs import holm, sign_flip_p


def test_equal_sizes_give_mcnemars_exact_test():
    found = sign_flip_p(np.array([1] * 9 + [-1] * 2 + [0] * 50))
    assert found == pytest.approx(binomtest(2, 11).pvalue)


def test_unequal_sizes_give_the_share_of_sign_assignments():
    values = np.array([3, -1, 4, 1, -5, 9])
    sums = [abs(np.dot(s, np.abs(values))) for s in product((1, -1), repeat=len(values))]
    assert sign_flip_p(values) == pytest.approx(np.mean(np.array(sums) >= abs(values.sum())))


def test_the_normal_approximation_continues_the_exact_test():
    values = np.array([1] * 40 + [-1] * 20)
    more = np.array([1] * 41 + [-1] * 20)
    assert sign_flip_p(more) == pytest.approx(sign_flip_p(values), abs=0.01)


def test_nothing_differs_where_all_differences_are_zero():
    assert sign_flip_p(np.zeros(5)) == 1.0


def test_holm_is_his_own_step_down():
    # 4 x 0.01, then max with 3 x 0.02, 2 x 0.03, 1 x 0.04.
    assert holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])) == [1.0, 1.0]
