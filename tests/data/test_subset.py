"""Few-shot subsets are drawn by seed and name, nested, and read back by index=."""

import pytest

from foldtune.data import read_source
from foldtune.data.subset import draw_subset, write_subset
from foldtune.errors import InputError


@pytest.fixture
def folder(make_folder):
    return make_folder({"train/a b": 9, "train/c": 7, "test/a b": 2, "test/c": 2})


def test_a_subset_holds_its_shots_and_the_smaller_subsets(folder):
    listing = read_source(folder)
    small, large = (set(draw_subset(listing, shots, 3)) for shots in (2, 5))
    labels = [listing.items[row].label for row in large]
    assert (labels.count(0), labels.count(1)) == (5, 5)
    assert small < large
    assert {listing.items[row].split for row in large} == {"train"}
    assert len({tuple(draw_subset(listing, 3, seed)) for seed in range(6)}) > 3


def test_a_written_subset_is_read_back_by_its_file(folder, tmp_path):
    listing = read_source(folder)
    told = write_subset(listing, 3, 5, tmp_path / "x" / "shots.txt")
    assert (told["images"], told["classes"], told["seed"]) == (6, 2, 5)
    few = read_source(f"files:index={tmp_path / 'x' / 'shots.txt'}@{folder}")
    kept = [item.name for item in few.items if item.split == "train"]
    assert kept == [listing.items[row].name for row in draw_subset(listing, 3, 5)]
    assert sum(item.split == "test" for item in few.items) == 4


def test_too_many_shots_are_refused_by_class(folder):
    with pytest.raises(InputError, match="class c has 7 training images; 8 shots"):
        draw_subset(read_source(folder), 8, 0)
