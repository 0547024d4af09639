"""Splits are complete, disjoint, stratified, and follow from the pictures and the seed alone."""

import numpy as np
import pytest

from foldtune.data.splits import SPLITS, complete_splits
from foldtune.errors import InputError


def case(*counts):
    """Labels, keys and class names of so many images per class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return labels, [f"key{i}" for i in range(len(labels))], [f"c{i}" for i in range(len(counts))]


def drawn(counts, seed=0, given=None):
    labels, keys, classes = case(*counts)
    given = [None] * len(labels) if given is None else given
    return complete_splits(given, labels, keys, classes, seed)


@pytest.mark.parametrize("seed", range(20))
def test_every_image_is_in_one_split_and_every_class_in_all(seed):
    counts = np.random.default_rng(seed).integers(3, 60, 5)
    splits, _ = drawn(counts, seed)
    labels = case(*counts)[0]
    assert sorted(np.concatenate(list(splits.values()))) == list(range(sum(counts)))
    for name in SPLITS:
        assert set(labels[splits[name]]) == set(range(5))
        assert (np.diff(splits[name]) > 0).all()


def test_proportions_are_three_one_one():
    splits, rule = drawn([100, 50])
    assert [len(splits[name]) for name in SPLITS] == [90, 30, 30]
    assert rule == "stratified 60/20/20, seed 0"


@pytest.mark.parametrize(
    ("count", "expected"), [(2, [1, 1, 0]), (3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1])]
)
def test_a_small_class_serves_val_before_test(count, expected):
    splits, _ = drawn([count, 10])
    assert [int((splits[name] < count).sum()) for name in SPLITS] == expected


def test_another_seed_draws_other_images():
    assert not np.array_equal(drawn([50, 50], 0)[0]["val"], drawn([50, 50], 1)[0]["val"])


def test_the_same_pictures_in_another_order_fall_into_the_same_splits():
    labels, keys, classes = case(20, 30)
    order = np.random.default_rng(0).permutation(50)
    first, _ = complete_splits([None] * 50, labels, keys, classes, 3)
    again, _ = complete_splits([None] * 50, labels[order], [keys[i] for i in order], classes, 3)
    for name in SPLITS:
        assert {keys[i] for i in first[name]} == {keys[order[i]] for i in again[name]}


def test_given_splits_are_kept():
    splits, rule = drawn([3, 3], given=["train", "val", "test"] * 2)
    assert rule == "as given"
    assert splits["val"].tolist() == [1, 4]


def test_val_is_drawn_from_train_where_only_test_is_given():
    splits, rule = drawn([12, 12], given=(["train"] * 10 + ["test"] * 2) * 2)
    assert splits["test"].tolist() == [10, 11, 22, 23]
    assert len(splits["val"]) == 4
    assert "val: stratified 20 % of train" in rule
    assert "test: as given" in rule


def test_a_given_val_serves_as_test_where_no_test_is_given():
    splits, rule = drawn([12, 12], given=(["train"] * 10 + ["val"] * 2) * 2)
    assert splits["test"].tolist() == [10, 11, 22, 23]
    assert not set(splits["val"]) & set(splits["test"])
    assert "test: the given val" in rule


def test_train_alone_is_split_in_three():
    splits, rule = drawn([10, 10], given=["train"] * 20)
    assert rule.startswith("stratified 60/20/20")
    assert len(splits["test"]) == 4


@pytest.mark.parametrize(
    ("counts", "given", "part"),
    [
        ([1, 5], None, "one image only in class c0"),
        ([2, 2], None, "test would be empty"),
        ([2, 2], ["test", "train", "test", "test"], "no training image of class c1"),
        ([2, 2], ["val", "test"] * 2, "without train"),
        ([2, 2], ["train", None, "test", "test"], "image 1 has none"),
        ([1, 4], ["train"] * 4 + ["test"], "one image only in class c0"),
    ],
)
def test_what_cannot_be_split_is_refused_with_its_place(counts, given, part):
    with pytest.raises(InputError, match=part) as caught:
        drawn(counts, given=given)
    assert "\n" not in str(caught.value)
