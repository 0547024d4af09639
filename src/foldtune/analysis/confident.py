"""Whether methods are sure of the same images: overlap of their most confident predictions.

For each run the K images with the largest max softmax among those it gets right, and among those it
gets wrong. K is cut to the smallest pool of any run, so that all sets have one size; of equal
confidences the image that comes first is taken. Overlap is Jaccard's: |A and B| / |A or B|.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import estimate, ratio, with_whole
from foldtune.analysis.panel import Panel
from foldtune.errors import InputError

Row = dict[str, Any]


def confident_sets(panel: Panel, most: float, right: bool) -> tuple[int, dict[str, np.ndarray]]:
    """K, and for each method the sets of its seeds as (seeds, images) bool.

    most: a whole number from 1 is K itself; a share below 1 is of the smallest pool of any run.
    """
    pools = {n: found if right else ~found for n, found in panel.right.items()}
    smallest = min(int(pool.sum(1).min()) for pool in pools.values())
    k = set_size(most, smallest)
    sets = {}
    for name, pool in pools.items():
        chosen = np.zeros_like(pool)
        for member, its, mask in zip(panel.runs[name], pool, chosen, strict=True):
            confidence = np.where(its, member.confidence, -1.0)
            mask[np.argsort(-confidence, kind="stable")[:k]] = True
        sets[name] = chosen
    return k, sets


def set_size(most: float, pool: int) -> int:
    """K for a number or a share, at most the pool. Raises InputError for what is neither."""
    if 0 < most < 1:
        return round(most * pool)
    if most >= 1 and most == int(most):
        return min(int(most), pool)
    raise InputError(f"most={most} is not allowed; a whole number from 1, or a share below 1")


def overlaps(sets: dict[str, np.ndarray], counts: np.ndarray) -> list[Row]:
    """Jaccard of each pair of methods, averaged over pairs of seeds; a method with itself over
    pairs of different seeds (`control` True). Intervals: images resampled, the sets held."""
    draws = with_whole(counts)
    pairs = [
        (a, b) for a, b in combinations_with_replacement(sets, 2) if a != b or len(sets[a]) > 1
    ]
    if not pairs:
        return []
    both, either = [], []
    for a, b in pairs:
        one, other = sets[a].mean(0), sets[b].mean(0)
        shared = one * other
        if a == b:  # leave out each seed's overlap with itself
            n = len(sets[a])
            shared = (n * n * shared - sets[a].sum(0)) / (n * (n - 1))
        both.append(shared)
        either.append(one + other - shared)
    above, below = (np.stack(x).astype(np.float32) @ draws.T for x in (both, either))
    values = ratio(above, below)
    return [
        {"a": a, "b": b, "control": a == b, "jaccard": estimate(v[0], v[1:])}
        for (a, b), v in zip(pairs, values, strict=True)
    ]


def venn(sets: dict[str, np.ndarray], names: Sequence[str]) -> Row:
    """How many images are in exactly which of three methods' sets, for the first seed of each.

    The seven regions are named by their members, joined by " & ".
    """
    if len(names) != 3 or len(set(names)) != 3:
        raise InputError(f"a Venn count takes three different methods, not {list(names)}")
    masks = np.stack([sets[name][0] for name in names])
    regions = {}
    for code in range(1, 8):
        inside = np.array([bool(code & 1), bool(code & 2), bool(code & 4)])
        where = " & ".join(n for n, is_in in zip(names, inside, strict=True) if is_in)
        regions[where] = int((masks == inside[:, None]).all(0).sum())
    return {"methods": list(names), "regions": regions}
