"""An identity follows from pictures, labels, class names and geometry, and from nothing else."""

import numpy as np
import pytest

from foldtune.data.identity import data_identity, image_hash, split_hash

BASE = (["aa", "bb", "cc"], [0, 1, 1], ["cat", "dog"], (8, "squash", "bicubic"))


def test_order_of_images_does_not_enter():
    hashes, labels, classes, geometry = BASE
    assert data_identity(hashes[::-1], labels[::-1], classes, geometry) == data_identity(*BASE)


@pytest.mark.parametrize(
    "other",
    [
        (["aa", "bb", "dd"], *BASE[1:]),
        (BASE[0], [0, 0, 1], *BASE[2:]),
        (*BASE[:2], ["cat", "fox"], BASE[3]),
        (*BASE[:3], (9, "squash", "bicubic")),
        (*BASE[:3], (8, "crop", "bicubic")),
        (*BASE[:3], (8, "squash", "nearest")),
        (["aa", "bb", "cc", "cc"], [0, 1, 1, 1], *BASE[2:]),
    ],
    ids=["pixels", "label", "class", "size", "resize", "interpolation", "one image twice"],
)
def test_everything_else_enters(other):
    assert data_identity(*other) != data_identity(*BASE)


def test_one_grey_level_changes_the_hash_of_an_image():
    image = np.zeros((4, 4, 3), np.uint8)
    changed = image.copy()
    changed[3, 3, 2] = 1
    assert image_hash(image) != image_hash(changed)


def test_split_hash_ignores_the_order_of_the_names_only():
    a, b = np.array([0, 1]), np.array([2])
    assert split_hash({"train": a, "test": b}) == split_hash({"test": b, "train": a})
    assert split_hash({"train": a, "test": b}) != split_hash({"train": b, "test": a})
