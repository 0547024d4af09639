"""load_data gives labelled, split, described images; the same for the same request."""

import json
from pathlib import Path

import numpy as np
import pytest

from foldtune.data import ImageData, load_data
from foldtune.errors import InputError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_data_is_complete(make_folder, cache):
    data = load_data(make_folder({"cat": 10, "dog": 5}), size=8, cache=cache)
    assert isinstance(data, ImageData)
    assert data.name == "photos"
    assert data.classes == ("cat", "dog")
    assert data.pixels.shape == (15, 8, 8, 3)
    assert data.pixels.dtype == np.uint8
    assert data.labels.dtype == np.int64
    for name, label in zip(data.names, data.labels, strict=True):
        assert name.startswith(data.classes[label])
    assert len(data.identity) == 32


def test_facts_are_json_and_tell_the_rule(make_folder, cache):
    folder = make_folder({"cat": 10, "dog": 5})
    (folder / "cat" / "note.txt").write_text("x")
    (folder / "cat" / "000.png").write_text("no image")
    data = load_data(folder, size=8, seed=3, skip_broken=True, cache=cache)
    facts = json.loads(json.dumps(data.facts))
    assert facts["counts"] == {"train": 8, "val": 3, "test": 3}
    assert facts["split_rule"] == "stratified 60/20/20, seed 3"
    assert facts["skipped"] == {"cat/000.png": "not an image"}
    assert facts["ignored"] == {".txt": 1}
    assert (facts["size"], facts["resize"], facts["interpolation"]) == (8, "squash", "bicubic")


def test_splits_are_disjoint_and_join(make_folder, cache):
    data = load_data(make_folder({"cat": 10, "dog": 5}), size=8, cache=cache)
    both = data.split("train", "val")
    assert both.tolist() == sorted([*data.split("train"), *data.split("val")])
    assert sorted([*both, *data.split("test")]) == list(range(15))
    with pytest.raises(InputError, match="unknown split 'tets'; choose from: test"):
        data.split("tets")


def test_few_shots_are_drawn_by_seed_from_train_and_val_and_leave_the_test_split(
    make_folder, cache
):
    data = load_data(make_folder({"cat": 40, "dog": 25}), size=8, cache=cache)
    drawn = [data.few_shot(3, seed) for seed in range(4)]
    for few, again in zip(drawn, (data.few_shot(3, seed) for seed in range(4)), strict=True):
        for name in ("train", "val"):
            assert np.array_equal(few.splits[name], again.splits[name])
            assert np.bincount(data.labels[few.splits[name]]).tolist() == [3, 3]
            assert set(few.splits[name]) <= set(data.splits[name])
        assert few.splits["test"] is data.splits["test"]
    for name in ("train", "val"):
        assert len({tuple(few.splits[name]) for few in drawn}) == 4
    assert len({few.facts["split_hash"] for few in drawn}) == 4
    with pytest.raises(InputError, match="class dog has 15 training images; 16 shots"):
        data.few_shot(16)


def test_every_image_that_neither_trains_nor_chooses_tests(make_folder, cache):
    data = load_data(make_folder({"cat": 40, "dog": 25}), size=8, cache=cache).few_shot(3)
    more = data.testing_the_rest()
    for name in ("train", "val"):
        assert more.splits[name] is data.splits[name]
    assert sorted(np.concatenate(list(more.splits.values()))) == list(range(65))
    assert more.facts["counts"] == {"train": 6, "val": 6, "test": 53}
    assert more.facts["split_hash"] != data.facts["split_hash"]


def test_a_folder_and_its_zip_are_the_same_data_and_splits(make_folder, make_zip, cache):
    folder = make_folder({"cat": 10, "dog": 5})
    first, second = (load_data(s, size=8, cache=cache) for s in (folder, make_zip(folder, "x/")))
    assert first.identity == second.identity
    assert first.facts["split_hash"] == second.facts["split_hash"]
    assert np.array_equal(first.pixels, second.pixels)
    assert second.names[0] == "x/" + first.names[0]


def test_given_splits_are_the_same_data_under_another_split_hash(make_folder, cache):
    drawn = load_data(make_folder({"a": 6, "b": 6}), size=8, cache=cache)
    given = make_folder({"train/a": 6, "train/b": 6}, name="given")
    (given / "test" / "a").mkdir(parents=True)
    (given / "test" / "b").mkdir()
    for name in "ab":
        (given / "train" / name / "000.png").rename(given / "test" / name / "000.png")
    data = load_data(given, size=8, cache=cache)
    assert data.identity == drawn.identity
    assert data.facts["split_hash"] != drawn.facts["split_hash"]
    assert {data.names[row] for row in data.split("test")} == {"test/a/000.png", "test/b/000.png"}


def test_images_shared_between_train_and_test_are_counted(make_folder, cache):
    folder = make_folder({"train/a": 5, "train/b": 5, "test/a": 2, "test/b": 2})
    (folder / "test/a/000.png").write_bytes((folder / "train/b/001.png").read_bytes())
    data = load_data(folder, size=8, cache=cache)
    assert data.facts["shared_with_train"]["test"] + data.facts["shared_with_train"]["val"] <= 1
    seeds = (load_data(folder, size=8, cache=cache, seed=s) for s in range(4))
    assert any(one.facts["shared_with_train"]["test"] == 1 for one in seeds)


@pytest.mark.parametrize("spec", ["digits", "shapes/position"])
def test_embedded_data_goes_the_same_way(spec, cache):
    data = load_data(Path(spec), size=8, cache=cache)
    seen = []
    again = load_data("embedded:" + spec, size=8, cache=cache, progress=lambda *at: seen.append(at))
    assert data.identity == again.identity
    assert again.name == spec
    assert seen == []
    for name in ("train", "val", "test"):
        assert set(data.labels[data.split(name)]) == set(range(len(data.classes)))


def test_a_path_wins_over_an_embedded_name(make_folder, cache, monkeypatch, tmp_path):
    make_folder({"cat": 3, "dog": 3}, name="digits")
    monkeypatch.chdir(tmp_path)
    assert load_data("digits", size=8, cache=cache).classes == ("cat", "dog")
    assert len(load_data("embedded:digits", size=8, cache=cache).classes) == 10


def test_progress_is_told(make_folder, cache):
    seen = []
    load_data(make_folder({"a": 20, "b": 20}), size=8, cache=cache,
              progress=lambda *at: seen.append(at))  # fmt: skip
    assert seen == [(32, 40), (40, 40)]


def test_the_default_cache_follows_xdg(make_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_data(make_folder({"a": 3, "b": 3}), size=8)
    assert (tmp_path / "xdg" / "foldtune" / "pixels" / "requests").is_dir()


@pytest.mark.parametrize(
    ("spec", "options", "part"),
    [
        ("nowhere", {}, "embedded data: digits, shapes/count"),
        ("shapes/colour", {}, "unknown embedded data 'shapes/colour'"),
        ("digits", {"size": 0}, "image size 0"),
        ("digits", {"resize": "pad"}, "unknown resize"),
        ("digits", {"interpolation": "area"}, "unknown interpolation"),
        ("digits", {"workers": 0}, "workers is 0"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(spec, options, part, cache):
    with pytest.raises(InputError, match=part) as caught:
        load_data(spec, **{"size": 8, "cache": cache, **options})
    assert "\n" not in str(caught.value)


def test_a_class_too_small_to_split_is_refused_by_name(make_folder, cache):
    with pytest.raises(InputError, match="one image only in class dog"):
        load_data(make_folder({"cat": 5, "dog": 1}), size=8, cache=cache)


def test_one_class_is_too_few_to_train_on_and_enough_to_judge(make_folder, cache, tmp_path):
    folder, table = make_folder({"cat": 1}), tmp_path / "t.csv"
    table.write_text("path,label\nphotos/cat/000.png,cat\n")
    for spec in (folder, table):
        with pytest.raises(InputError, match="one class only, 'cat'"):
            load_data(spec, size=8, cache=cache)
        data = load_data(spec, size=8, seed=None, cache=cache)
        assert data.split("test").tolist() == [0]
        assert data.facts["split_rule"] == "all images, no split given"


def test_splits_that_are_given_are_kept_to_judge_on_and_none_is_drawn(make_folder, cache):
    folder = make_folder({"train/a": 3, "test/b": 1})
    data = load_data(folder, size=8, seed=None, cache=cache)
    assert data.facts["counts"] == {"train": 3, "val": 0, "test": 1}


def test_a_class_of_broken_images_is_refused_by_name(make_folder, cache):
    folder = make_folder({"cat": 3, "dog": 3, "fox": 3})
    for file in (folder / "dog").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(InputError, match="no image of class dog can be read"):
        load_data(folder, size=8, cache=cache, skip_broken=True)


def test_torch_is_not_needed_to_load(cache):
    import subprocess
    import sys

    code = "import sys, foldtune.data; sys.exit('torch' in sys.modules)"
    path = str(Path(__file__).parents[2] / "src")
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}).returncode == 0


def test_a_class_without_a_test_image_is_kept_and_scored_by_the_others(make_folder, tmp_path):
    folder = make_folder({"train/a": 5, "train/b": 5, "train/c": 5, "test/a": 2, "test/c": 1})
    (folder / "test" / "b").mkdir()  # empty, as an export leaves it
    data = load_data(folder, size=8, cache=tmp_path / "cache")
    assert data.classes == ("a", "b", "c")
    assert data.labels[data.split("test")].tolist() == [0, 0, 2]


def test_a_class_without_a_training_image_is_refused_by_name(make_folder, tmp_path):
    folder = make_folder({"train/a": 5, "train/b": 5, "test/a": 1, "test/c": 1})
    with pytest.raises(InputError, match="no training image of class c, which test holds"):
        load_data(folder, size=8, cache=tmp_path / "cache")


def test_names_beyond_ascii_are_read_from_a_folder_and_a_zip(make_folder, make_zip, tmp_path):
    folder = make_folder({"Äpfel & Birnen": 3, "猫 \U0001f431": 3}, name="früchte")
    (folder / "猫 \U0001f431" / "000.png").rename(folder / "猫 \U0001f431" / "naïve ß.png")
    one, other = (
        load_data(path, size=8, cache=tmp_path / path.suffix / "cache")
        for path in (folder, make_zip(folder))
    )
    assert one.classes == other.classes == ("Äpfel & Birnen", "猫 \U0001f431")
    assert one.identity == other.identity
