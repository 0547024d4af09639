"""Index files, merged classes and class names, on any source."""

import numpy as np
import pytest

from data.sources.sets.native import seen, texts
from foldtune.data import load_data, read_source
from foldtune.errors import InputError


@pytest.fixture
def folder(make_folder):
    return make_folder({"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/dog": 1})


@pytest.mark.parametrize("kind", ["npy", "drawings", "numbers", "names"])
def test_an_index_file_chooses_training_images(folder, tmp_path, kind):
    rows = [4, 0]
    extra = ""
    file = tmp_path / "index.txt"
    if kind in ("npy", "drawings"):
        file = tmp_path / "index.npy"
        np.save(file, np.array(rows) if kind == "npy" else np.array([[1, 2], rows]))
        extra = ",draw=1" if kind == "drawings" else ""
    elif kind == "numbers":
        file.write_text("4\n0\n")
    else:
        file.write_text("train/dog/001.png 1\ntrain/cat/000.png 0\n")
    listing = read_source(f"files:index={file}{extra}@{folder}")
    assert [name for name, _, split in seen(listing) if split == "train"] == [
        "train/cat/000.png", "train/dog/001.png",
    ]  # fmt: skip
    assert sum(split == "test" for *_, split in seen(listing)) == 2


def test_train_and_val_indices_cut_the_same_pool(folder, tmp_path):
    np.save(tmp_path / "t.npy", [0, 3])
    np.save(tmp_path / "v.npy", [1, 4])
    spec = f"files:index=t.npy,val_index=v.npy@{folder}"
    for name in ("t.npy", "v.npy"):
        (tmp_path / name).rename(folder / name)
    data = load_data(spec, size=8, cache=tmp_path / "cache")
    assert data.facts["counts"] == {"train": 2, "val": 2, "test": 2}
    assert data.facts["split_rule"] == "as given"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 9], "reaches from 0 to 9, but there are 6 images"),
        ([0, 0], "names an image twice"),
        ([0.5], "holds float64"),
        ([], "holds float64|names no image"),
    ],
)
def test_a_wrong_index_file_is_refused(folder, tmp_path, index, message):
    np.save(tmp_path / "i.npy", index)
    with pytest.raises(InputError, match=message):
        read_source(f"files:index={tmp_path / 'i.npy'}@{folder}")


def test_a_cut_off_index_file_is_refused(folder, tmp_path):
    np.save(tmp_path / "i.npy", np.arange(5))
    whole = (tmp_path / "i.npy").read_bytes()
    (tmp_path / "i.npy").write_bytes(whole[:-3])
    with pytest.raises(InputError, match="not a whole"):
        read_source(f"files:index={tmp_path / 'i.npy'}@{folder}")


def test_an_image_in_two_index_files_is_refused(folder, tmp_path):
    np.save(tmp_path / "i.npy", [1])
    spec = f"files:index={tmp_path / 'i.npy'},val_index={tmp_path / 'i.npy'}@{folder}"
    with pytest.raises(InputError, match="an image belongs to one split"):
        read_source(spec)


def test_a_map_merges_renames_and_leaves_out_classes(make_folder, tmp_path):
    folder = make_folder({"cat": 1, "dog": 2, "oak": 1, "rock": 1})
    texts(tmp_path, {"map.csv": "cat,animal\ndog,animal\noak,plant\n"})
    listing = read_source(f"files:map={tmp_path / 'map.csv'}@{folder}")
    assert [label for _, label, _ in seen(listing)] == ["animal"] * 3 + ["plant"]
    assert len(listing.stamps) == 4


def test_a_map_of_other_classes_is_refused(folder, tmp_path):
    texts(tmp_path, {"map.csv": "oak,plant\n"})
    with pytest.raises(InputError, match="lists none of the classes cat, dog"):
        read_source(f"files:map={tmp_path / 'map.csv'}@{folder}")


def test_class_names_come_from_lines_or_from_words(folder, tmp_path):
    texts(tmp_path, {"lines.txt": "Katze\nHund\n", "words.txt": "dog\thound, cur\ncat\tcrane\n"})
    assert read_source(f"files:names={tmp_path}/lines.txt@{folder}").classes == ("Katze", "Hund")
    assert read_source(f"files:names={tmp_path}/words.txt@{folder}").classes == ("crane", "hound")


def test_equal_class_names_are_kept_apart(folder, tmp_path):
    texts(tmp_path, {"words.txt": "dog\tcrane\ncat\tcrane\n"})
    names = read_source(f"files:names={tmp_path}/words.txt@{folder}").classes
    assert names == ("crane (cat)", "crane (dog)")


def test_a_wrong_number_of_class_names_is_refused(folder, tmp_path):
    texts(tmp_path, {"lines.txt": "one\n"})
    with pytest.raises(InputError, match="has 1 names for 2 classes"):
        read_source(f"files:names={tmp_path}/lines.txt@{folder}")
