"""Test images that show one picture are found once, kept with the study, and count as one."""

import json
from dataclasses import replace

import numpy as np
from PIL import Image

from data.conftest import picture
from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.study.compare import compare
from foldtune.study.results.pictures import clusters
from foldtune.study.results.predictions import groups_of, read_predictions
from foldtune.training.recipe import Recipe


def write(folder):
    """Two classes of noise; three test images are one picture."""
    for split, count in (("train", 4), ("val", 2), ("test", 4)):
        for place, name in enumerate("ab"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                seed = 1000 * place + 100 * len(split) + 10 * number + count
                picture(seed, (24, 24)).save(folder / split / name / f"{number}.png")
    first = Image.open(folder / "test/a/0.png")
    for number in (7, 8):
        first.save(folder / "test/a" / f"{number}.jpg", quality=90 + number)
    return folder


def test_near_duplicates_of_the_test_split_reach_the_judgement(tmp_path):
    data = load_data(write(tmp_path / "data"), size=16, cache=tmp_path / "cache")
    (found,) = clusters(data)
    assert sorted(data.names[row] for row in found) == ["test/a/0.png", "test/a/7.jpg",
                                                        "test/a/8.jpg"]  # fmt: skip
    compare(
        data, load_backbone("micro", size=16), ("LinearProbe", "BitFit"), out=tmp_path / "study",
        trials=1, seeds=2, recipe=Recipe(epochs=1, warmup_epochs=0.1),
    )  # fmt: skip
    assert json.loads((tmp_path / "study/study.json").read_bytes())["alike"] == [found]
    decision = read_predictions(tmp_path / "study").decision
    assert (decision.images, decision.units) == (10, 8)


def test_groups_of_the_data_count_as_one_with_their_near_duplicates(tmp_path):
    data = load_data(write(tmp_path / "data"), size=16, cache=tmp_path / "cache")
    (same,) = clusters(data)
    test = data.split("test").tolist()
    other = [row for row in test if row not in same]
    names = {same[0]: "ann", other[0]: "ann", other[1]: "bob", other[2]: "bob"}
    groups = tuple(names.get(row, f"{row}") for row in range(len(data.labels)))
    found = clusters(replace(data, groups=groups))
    assert found == sorted([sorted([*same, other[0]]), sorted(other[1:3])])


def test_embedded_sets_are_as_they_are(digits):
    assert clusters(digits) is None


def test_groups_are_numbers_of_clusters_and_none_without():
    images = np.array([3, 5, 8, 9])
    assert groups_of(images, []) is None
    assert groups_of(images, [[5, 9], [1, 2]]).tolist() == [3, 5, 8, 5]
    assert groups_of(images, [[1, 2], [3]]) is None
