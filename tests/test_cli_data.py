"""The verbs about data, as a user runs them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from data.conftest import encoded
from test_cli import foldtune, refused, told


@pytest.fixture
def photos(tmp_path):
    for n in range(12):
        path = tmp_path / "photos" / "ab"[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(n))
    return tmp_path / "photos"


def test_sets_are_shown_with_how_they_are_written():
    rows = told("data", "sets")
    assert {"set": "vtab", "write": "vtab:dtd@vtab-1k"}.items() <= {r["set"]: r for r in rows}[
        "vtab"
    ].items()


def test_check_tells_of_a_path_and_of_each_part_of_a_set(photos, tmp_path):
    assert told("data", "check", photos)[0]["images"] == 12
    np.savez(tmp_path / "octmnist.npz", images=np.zeros((2, 8, 8), np.uint8), labels=[0, 1])
    rows = told("data", "check", "medmnist", tmp_path)
    assert [(row["part"], row["classes"]) for row in rows] == [("octmnist", 4)]


def test_check_exits_with_1_where_nothing_can_be_read(tmp_path):
    done = foldtune("data", "check", "vtab", tmp_path, "--json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)) == 19


def test_decode_identifies_and_tells_time_and_memory(photos, tmp_path):
    one = told("data", "decode", photos, "--size", 8, cache=tmp_path / "cache")
    assert (one["images"], one["classes"], one["peak_mib"] > 0) == (12, 2, True)
    again = told("data", "decode", photos, "--size", 8, cache=tmp_path / "cache")
    assert again["identity"] == one["identity"]


def test_card_writes_the_examples(photos, tmp_path):
    card = told("data", "card", photos, "--examples", tmp_path / "x.png", cache=tmp_path / "cache")
    assert card["counts"] == {"train": 8, "val": 2, "test": 2}
    assert (tmp_path / "x.png").stat().st_size > 0


def test_a_wrong_set_is_refused_in_one_line(tmp_path):
    assert "choose from: vtab" in refused("data", "check", "vtub", tmp_path)


def test_test_images_that_were_trained_on_are_counted_in_one_line(tmp_path):
    for split, seed in (("train", 0), ("val", 40), ("test", 80)):
        for number in range(4):
            path = tmp_path / "given" / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(seed + number).integers(0, 256, (20, 20, 3), np.uint8)
            Image.fromarray(noise).save(path)
    shutil.copy(tmp_path / "given/train/a/0.png", tmp_path / "given/test/a/copy.png")
    words = ("--size", 16, "--epochs", 1, "--method", "LinearProbe", "--out", tmp_path / "out")
    done = foldtune("fit", tmp_path / "given", *words, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert "test images: 1 of 5 were trained on: left out" in done.stderr.splitlines()


def test_a_subset_a_conversion_and_the_cache_are_verbs(photos, tmp_path):
    assert told("data", "subset", photos, tmp_path / "s.txt", "--shots", 3)["images"] == 6
    assert told("data", "convert", photos, tmp_path / "out")["written"] == 12
    cache = tmp_path / "cache"
    told("data", "decode", f"files:index={tmp_path}/s.txt@{photos}", "--size", 8, cache=cache)
    assert [row["images"] for row in told("data", "cache", cache=cache)] == [6]
    assert told("data", "cache", "--limit", "0", cache=cache)["removed"] == 1


def test_a_check_says_how_many_files_it_looked_at(tmp_path):
    # Sizes of 64 files read as if they were of all.
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(40):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    done = foldtune("data", "check", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "are of 64 files, evenly spread over each split, of 80;" in done.stdout
    assert "{" not in done.stdout
    assert told("data", "check", tmp_path)[0]["looked_at"] == 64


def test_a_card_is_sentences_and_a_table(photos, tmp_path):
    done = foldtune("data", "card", photos, cache=tmp_path / "cache")
    assert done.stdout.splitlines()[0].startswith(f"{photos.name}: 12 images of 2 classes (8 train")
    assert not set("{}[]") & set(done.stdout)
