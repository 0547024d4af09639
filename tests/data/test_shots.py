"""Few shots are drawn by seed and picture, nested, the same by --shots and by a file of names."""

import pytest

from foldtune.data import load_data, read_source
from foldtune.data.shots import draw_subset, write_subset
from foldtune.data.store.keys import find_keys
from foldtune.errors import InputError


@pytest.fixture
def folder(make_folder):
    return make_folder({"train/a b": 9, "train/c": 7, "test/a b": 2, "test/c": 2})


@pytest.fixture
def drawn(folder, tmp_path):
    """Of the folder's listing the names of `shots` images a class."""
    listing = read_source(folder)
    keys = find_keys(listing, tmp_path / "cache", 1)

    def draw(shots, seed):
        return [listing.items[row].name for row in draw_subset(listing, keys, shots, seed)]

    return draw


def test_a_subset_holds_its_shots_and_the_smaller_subsets(drawn):
    small, large = (set(drawn(shots, 3)) for shots in (2, 5))
    assert sorted(name.split("/")[1] for name in large) == ["a b"] * 5 + ["c"] * 5
    assert small < large
    assert {name.split("/")[0] for name in large} == {"train"}
    assert len({tuple(drawn(3, seed)) for seed in range(6)}) > 3


@pytest.mark.parametrize("size", [8, 20])
def test_a_subset_is_what_shots_train_on(folder, drawn, tmp_path, size):
    few = load_data(folder, size=size, seed=3, cache=tmp_path / "cache").few_shot(2, 3)
    assert {few.names[row] for row in few.split("train")} == set(drawn(2, 3))


def test_shots_are_different_pictures(folder, tmp_path):
    twin = (folder / "train/c/001.png").read_bytes()
    for number in range(5):
        (folder / f"train/c/twin{number}.png").write_bytes(twin)
    few = load_data(folder, size=8, cache=tmp_path / "cache").few_shot(5)
    assert len({few.keys[row].tobytes() for row in few.split("train")}) == 10


def test_a_written_subset_is_read_back_by_its_file(folder, drawn, tmp_path):
    listing = read_source(folder)
    keys = find_keys(listing, tmp_path / "cache", 1)
    told = write_subset(listing, keys, 3, 5, tmp_path / "x" / "shots.txt")
    assert (told["images"], told["classes"], told["seed"]) == (6, 2, 5)
    few = read_source(f"files:index={tmp_path / 'x' / 'shots.txt'}@{folder}")
    assert [item.name for item in few.items if item.split == "train"] == drawn(3, 5)
    assert sum(item.split == "test" for item in few.items) == 4


def test_too_many_shots_are_refused_by_class(drawn):
    with pytest.raises(InputError, match="class c has 6 training images; 8 shots"):
        drawn(8, 0)
