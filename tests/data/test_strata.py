"""Drawn splits hold each label, or each range of numbers, in proportion, and part no picture."""

import numpy as np
import pytest

from foldtune.data.splits import complete_splits
from foldtune.data.strata import Strata, ranges
from foldtune.errors import InputError

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def marks(images=300, seed=0):
    draw = np.random.default_rng(seed)
    return (draw.random((images, 4)) < (0.5, 0.3, 0.1, 0.04)).astype(np.int64)


def strata(held, names=("a", "b", "c", "d"), keys=None, groups=(), seed=0):
    keys = keys or [f"{n:04d}" for n in range(len(held))]
    return Strata(held, names, keys, groups, seed, "stratified by label")


def test_every_label_is_spread_in_proportion():
    held = marks()
    found = strata(held).draw(np.arange(len(held)), SHARES)
    for name, share in SHARES.items():
        assert abs(len(found[name]) / len(held) - share) < 0.03
        # To a picture or two of the wanted number, the rarest label most of all.
        off = np.abs(held[found[name]].sum(0) - share * held.sum(0))
        assert off.max() < 4
        assert off[3] <= 1
    together = np.sort(np.concatenate(list(found.values())))
    np.testing.assert_array_equal(together, np.arange(len(held)))


def test_the_drawing_follows_pictures_and_seed_alone():
    held = marks(80)
    keys = [f"{n:04d}" for n in range(80)]
    order = np.random.default_rng(3).permutation(80)
    one = strata(held, keys=keys).draw(np.arange(80), SHARES)
    other = strata(held[order], keys=[keys[n] for n in order]).draw(np.arange(80), SHARES)
    for name, rows in one.items():
        assert sorted(keys[r] for r in rows) == sorted(keys[order[r]] for r in other[name])
    again = strata(held, keys=keys, seed=1).draw(np.arange(80), SHARES)
    assert not np.array_equal(again["train"], one["train"])


def test_neither_groups_nor_equal_pictures_are_parted():
    held = marks(120)
    groups = [str(n // 3) for n in range(120)]
    keys = [f"{n - n % 2 if n < 20 else n:04d}" for n in range(120)]
    found = strata(held, keys=keys, groups=groups).draw(np.arange(120), SHARES)
    of = {row: name for name, rows in found.items() for row in rows.tolist()}
    assert all(of[n] == of[n - n % 3] for n in range(120))
    assert all(of[n] == of[n - n % 2] for n in range(20))


def test_a_label_that_train_would_lack_is_refused():
    held = marks(30)
    held[:, 3] = 0
    held[4, 3] = 1
    rows = {"train": np.arange(10, 30), "test": np.arange(10)}
    with pytest.raises(InputError, match="no training image with the label d, which test holds"):
        strata(held).refuse_untrained(rows)
    with pytest.raises(InputError, match="too few images"):
        strata(held).draw(np.arange(2), SHARES)


def test_numbers_are_stratified_by_ranges():
    numbers = np.random.default_rng(0).exponential(size=200)
    held = ranges(numbers, 200)
    assert held.shape == (200, 10)
    assert (held.sum(1) == 1).all()
    assert held.sum(0).tolist() == [20] * 10
    found = strata(held, ()).draw(np.arange(200), SHARES)
    means = [numbers[rows].mean() for rows in found.values()]
    assert np.ptp(means) < 0.15  # drawn blindly it is 0.2 to 0.5
    assert (ranges(np.ones(50), 50).sum(0) > 0).sum() == 1


def test_given_splits_are_taken_and_completed():
    held = marks(100)
    labels = np.zeros(100, np.int64)
    given = ["train"] * 70 + ["test"] * 30
    rows, rule = complete_splits(
        given, labels, [f"{n:04d}" for n in range(100)], ("x",), 0, strata=strata(held)
    )
    np.testing.assert_array_equal(rows["test"], np.arange(70, 100))
    assert len(rows["val"]) == 14
    assert rule.startswith("val: stratified by label 20 % of train")
