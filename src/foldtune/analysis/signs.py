"""The p-value of a sum of differences whose signs mean nothing if two methods are equal.

Under that hypothesis each difference is as likely with the other sign (Fisher's randomisation test,
The Design of Experiments, 1935). With differences of one size it is McNemar's exact test, with
ranks Wilcoxon's. The two-sided p-values are corrected for many pairs by Holm (Scandinavian Journal
of Statistics 1979).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

# Beyond this many differences their sum is as good as normal, and counting all sums takes long.
_EXACT = 60


def sign_flip_p(differences: np.ndarray) -> float:
    """The share of all assignments of signs whose sum is as far from 0; exact up to 60 differences
    that are not 0, by the normal distribution with variance sum of squares above.

    differences: whole numbers.
    """
    steps = differences[differences != 0].astype(int)
    if not len(steps):
        return 1.0
    if len(steps) > _EXACT:
        z = abs(int(steps.sum())) / math.sqrt(float((steps**2).sum()))
        return 2 * NormalDist().cdf(-z)
    sizes = np.abs(steps)
    shares = np.zeros(int(sizes.sum()) + 1)  # of the sum of those with a plus
    shares[0] = 1.0
    for size in sizes:
        shares[size:] += shares[:-size].copy()
        shares /= 2  # shares, not counts: 2^n grows large
    above = int(steps[steps > 0].sum())
    extreme = min(above, len(shares) - 1 - above)
    return float(min(1.0, 2 * shares[: extreme + 1].sum()))


def holm(p: np.ndarray) -> list[float]:
    """Holm's corrected p-values: of the sorted, max over earlier ones of (n - i) p_i, at most 1."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p)[order] * (len(p) - np.arange(len(p)))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(value) for value in corrected]
