"""The p-value of a sum of differences whose signs mean nothing if two methods are equal.

Under that hypothesis each difference is as likely with the other sign (Fisher's randomisation test,
The Design of Experiments, 1935). With differences of one size it is McNemar's exact test, with
ranks Wilcoxon's. The two-sided p-values are corrected for many pairs by Holm (Scandinavian Journal
of Statistics 1979).
"""

from __future__ import annotations

import numpy as np

_EXACT = 200_000_000  # steps of counting all sums, in about half a second
_DRAWS = 200_000  # assignments of signs beyond that
_AT_ONCE = 1 << 22  # signs


def sign_flip_p(differences: np.ndarray) -> float:
    """The share of all assignments of signs whose sum is as far from 0.

    differences: whole numbers. Exact, by counting the sums, up to thousands of them; for more, or
    for huge ones, the share of 200,000 drawn assignments, this one among them (Phipson and Smyth,
    Statistical Applications in Genetics and Molecular Biology 2010), so never below 5e-6.
    """
    steps = differences[differences != 0].astype(int)
    if not len(steps):
        return 1.0
    sizes = np.abs(steps) // np.gcd.reduce(steps)
    if len(sizes) * int(sizes.sum()) > _EXACT:
        return _share_beyond(sizes, abs(int(sizes @ np.sign(steps))))
    shares = np.zeros(int(sizes.sum()) + 1)  # of the sum of those with a plus
    shares[0] = 1.0
    for size in sizes:
        shares[size:] += shares[:-size].copy()
        shares /= 2  # shares, not counts: 2^n grows large
    above = int(sizes[steps > 0].sum())
    extreme = min(above, len(shares) - 1 - above)
    return float(min(1.0, 2 * shares[: extreme + 1].sum()))


def _share_beyond(sizes: np.ndarray, reached: int) -> float:
    """The share of drawn signs whose sum of sizes is at least as far from 0 as `reached`."""
    rng = np.random.default_rng(0)
    at_once = max(1, _AT_ONCE // len(sizes))
    beyond = 0
    for start in range(0, _DRAWS, at_once):
        count = min(at_once, _DRAWS - start)
        signs = rng.integers(0, 2, (count, len(sizes)), np.int8)
        sums = 2 * (signs @ sizes.astype(np.float64)) - sizes.sum()
        beyond += int((np.abs(sums) >= reached).sum())
    return (beyond + 1) / (_DRAWS + 1)


def holm(p: np.ndarray) -> list[float]:
    """Holm's corrected p-values: of the sorted, max over earlier ones of (n - i) p_i, at most 1."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p)[order] * (len(p) - np.arange(len(p)))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(value) for value in corrected]
