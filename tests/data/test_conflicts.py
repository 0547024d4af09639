"""A picture under several labels, or in several splits, is told, dropped or refused."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from foldtune.data import load_data, read_source
from foldtune.data.conflicts import alike_names, find_repeats, to_drop
from foldtune.data.streaming import stream_data
from foldtune.data.tools.card import data_card
from foldtune.data.tools.check import describe
from foldtune.errors import InputError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def twins(make_folder):
    """The same image under two labels: by file copy."""
    folder = make_folder({"oak": 10, "elm": 10, "fir": 10})
    shutil.copy(folder / "oak/000.png", folder / "elm/zz.png")
    return folder


TWINS = "one image has two labels: elm/zz.png (elm) = oak/000.png (oak)"


def test_the_same_image_under_two_labels_is_told(twins, make_zip, cache):
    for source in (twins, make_zip(twins)):
        assert TWINS in describe(read_source(source))["warnings"]
        data = load_data(source, size=8, cache=cache)
        assert TWINS in data.facts["warnings"]
        card = data_card(data)
        assert card["repeated"] == {"labels": 1, "splits": 0}
        assert TWINS in card["warnings"]


def test_a_table_that_gives_one_file_two_labels_is_told(twins, tmp_path, cache):
    rows = [f"photos/{label}/00{i}.png,{label}" for label in ("oak", "elm") for i in range(5)]
    table = tmp_path / "t.csv"
    table.write_text("path,label\n" + "\n".join([*rows, "photos/oak/000.png,elm"]))
    said = "one image has two labels: photos/oak/000.png (elm) = photos/oak/000.png (oak)"
    assert said in load_data(table, size=8, cache=cache).facts["warnings"]
    assert any("photos/oak/000.png" in line for line in describe(read_source(table))["warnings"])


def test_pictures_are_compared_and_not_files(twins, cache):
    Image.open(twins / "oak/001.png").save(twins / "fir/other.tif")
    warnings = load_data(twins, size=8, cache=cache).facts["warnings"]
    assert any(said.startswith("2 images have several labels, such as") for said in warnings)
    assert len(describe(read_source(twins))["warnings"]) == 1  # files alone: nothing is decoded


def test_arrays_are_checked_too(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    images[5] = images[0]
    np.savez(tmp_path / "x.npz", images=images, labels=np.array([0, 0, 0, 1, 1, 1]))
    told = describe(read_source(tmp_path / "x.npz"))["warnings"]
    assert told == ["one image has two labels: images/0 (0) = images/5 (1)"]


@pytest.mark.parametrize("read", [load_data, stream_data])
def test_conflicts_can_be_dropped_which_the_identity_states(twins, cache, read):
    kept = read(twins, size=8, cache=cache)
    dropped = read(twins, size=8, cache=cache, conflicts="drop")
    assert len(dropped.labels) == len(kept.labels) - 2
    assert set(dropped.facts["dropped"]) == {"oak/000.png", "elm/zz.png"}
    assert any("2 images are left out (--conflicts drop)" in w for w in dropped.facts["warnings"])
    for name in ("oak/000.png", "elm/zz.png"):
        (twins / name).unlink()
    by_hand = read(twins, size=8, cache=cache)
    assert len({data.identity for data in (kept, dropped, by_hand)}) == 3
    assert kept.facts["content"] == dropped.facts["content"]  # it is the same data to judge on
    rows = np.arange(len(by_hand.labels))
    assert (dropped.pixels[rows] == by_hand.pixels[rows]).all()


@pytest.mark.parametrize("read", [load_data, stream_data])
def test_conflicts_can_be_refused(twins, cache, read):
    with pytest.raises(InputError, match=r"one image has two labels: .*; correct the data, or"):
        read(twins, size=8, cache=cache, conflicts="refuse")
    with pytest.raises(InputError, match="unknown way to treat conflicts 'ask'"):
        read(twins, size=8, cache=cache, conflicts="ask")


def test_pictures_in_several_given_splits_are_told_and_dropped_from_train(make_folder, cache):
    folder = make_folder({f"{split}/{c}": 4 for split in ("train", "val", "test") for c in "ab"})
    shutil.copy(folder / "train/a/000.png", folder / "test/a/x.png")
    shutil.copy(folder / "val/b/001.png", folder / "test/b/y.png")
    shutil.copy(folder / "train/a/002.png", folder / "val/b/z.png")
    data = load_data(folder, size=8, cache=cache)
    said = "\n".join(data.facts["warnings"])
    assert "one picture is in test and in train: test/a/x.png (a) = train/a/000.png (a)" in said
    assert "one picture is in test and in val: test/b/y.png (b) = val/b/001.png (b)" in said
    assert "one picture is in val and in train: val/b/z.png (b) = train/a/002.png (a)" in said
    assert "1 have another label there: val/b/z.png (b) ~ train/a/002.png (a)" in said
    left = load_data(folder, size=8, cache=cache, conflicts="drop")
    assert set(left.facts["dropped"]) == {
        "train/a/000.png", "val/b/001.png", "train/a/002.png", "val/b/z.png",
    }  # fmt: skip
    assert left.facts["counts"]["test"] == data.facts["counts"]["test"] == 10


def test_a_class_of_which_nothing_is_left_is_refused(make_folder, cache):
    folder = make_folder({"a": 6, "b": 6})
    shutil.copytree(folder / "a", folder / "c")
    with pytest.raises(InputError, match=r"no image of class a, c is left .* another label, too"):
        load_data(folder, size=8, cache=cache, conflicts="drop")


def test_classes_that_differ_by_case_space_or_form_are_told(make_folder):
    how = (
        "case, space, Unicode form or how a number is written alone; if they are one class, merge "
        "them (files:map=FILE@..., a line 'class,new class' each)"
    )
    assert alike_names(["Ant", "ant ", "bee", "caf\u00e9", "cafe\u0301", "Bee 2"]) == [
        f"classes 'Ant', 'ant ' differ by {how}",
        f"classes 'caf\u00e9', 'cafe\u0301' differ by {how}",
    ]
    assert alike_names(["1", "1.0", "01", "2", "1e0", "x1"]) == [
        f"classes '1', '1.0', '01' differ by {how}"
    ]
    folder = make_folder({"Ant": 1, "ant": 1})
    assert "'Ant', 'ant'" in describe(read_source(folder))["warnings"][0]


def test_what_has_no_key_is_no_picture():
    assert find_repeats(["", "", "x"], [0, 1, 0], [None] * 3).labels == ()
    assert to_drop(["k", "k", "k"], [0, 0, 0], [None, None, None]) == {}


def test_files_of_one_checksum_are_read_before_they_are_called_the_same(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a/1.png", "b/1.png", "b/2.png"):
            archive.writestr(name, b"the same bytes" if name != "b/2.png" else b"others")
    told = describe(read_source(tmp_path / "x.zip"))["warnings"]
    assert told[-1] == "one image has two labels: a/1.png (a) = b/1.png (b)"
    assert not any("b/2.png" in line and "two labels" in line for line in told)
