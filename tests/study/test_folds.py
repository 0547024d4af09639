"""Every image is tested once, by methods tuned without its fold, and pooled as one decision."""

import json
from dataclasses import replace

import numpy as np
import pytest

from foldtune.backbones import load_backbone
from foldtune.errors import InputError
from foldtune.study.folds import FOLDS, compare_folds, fold_data, fold_rows, split_data
from foldtune.study.results.predictions import read_predictions
from foldtune.training.recipe import Recipe


def test_folds_are_stratified_and_hold_every_image_once(digits):
    found = fold_rows(digits, 5, 0)
    every = np.sort(np.concatenate(found))
    np.testing.assert_array_equal(every, digits.split("train", "val", "test"))
    counts = [np.bincount(digits.labels[rows], minlength=10) for rows in found]
    assert np.ptp(counts, axis=0).max() <= 2
    part = fold_data(digits, found[1], 0, 1)
    np.testing.assert_array_equal(part.splits["test"], found[1])
    assert not set(part.split("train", "val")) & set(found[1])
    assert part.facts["split_rule"] == "fold 2, seed 0"
    assert part.facts["split_hash"] != fold_data(digits, found[0], 0, 0).facts["split_hash"]


def test_each_fold_is_a_study_and_all_images_are_pooled(digits, tmp_path):
    few = np.sort(np.random.default_rng(0).permutation(len(digits.labels))[:150])
    small = replace(digits, splits={"train": few, "val": few[:0], "test": few[:0]})
    recipe = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32)
    found = compare_folds(
        small, load_backbone("micro", size=16), ["LinearProbe"], folds=2, out=tmp_path,
        trials=1, seeds=1, recipe=recipe,
    )  # fmt: skip
    parts = [read_predictions(fold.folder) for fold in found.folds]
    tested = np.concatenate([part.images for part in parts])
    np.testing.assert_array_equal(np.sort(tested), few)
    right = np.concatenate([part.panel.right["LinearProbe"][0] for part in parts])
    assert found.decision.accuracy[0] == pytest.approx(right.mean(), abs=1e-12)
    assert found.decision.images == 150
    told = json.loads((tmp_path / FOLDS).read_text())
    assert told["winners"] == ["LinearProbe"] * 2
    assert "overlap" in told["said"]
    held = [len(part.images) for part in parts]
    assert np.dot(held, told["scores"]["LinearProbe"]) / 150 == pytest.approx(right.mean())
    for wrong, said in (({"folds": 1}, "two or more"), ({"repeats": 1}, "two or more"),
                        ({}, "neither folds nor repeats"),
                        ({"folds": 40, "repeats": 40}, "more than 1000")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            compare_folds(small, load_backbone("micro", size=16), **wrong, out=tmp_path)


def test_repeats_draw_the_split_anew_and_an_image_counts_as_one(digits, tmp_path):
    few = np.sort(np.concatenate([np.flatnonzero(digits.labels == k)[:7] for k in range(10)]))
    small = replace(digits, splits={"train": few, "val": few[:0], "test": few[:0]})
    recipe = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32)
    found = compare_folds(
        small, load_backbone("micro", size=16), ["BitFit"], repeats=2, out=tmp_path,
        trials=1, seeds=1, recipe=recipe, head="zero",
    )  # fmt: skip
    assert [fold.folder.name for fold in found.folds] == ["repeat0", "repeat1"]
    parts = [read_predictions(fold.folder) for fold in found.folds]
    tested = np.concatenate([part.images for part in parts])
    assert len(np.unique(tested)) < len(tested)
    right = np.concatenate([part.panel.right["BitFit"][0] for part in parts])
    assert found.decision.accuracy[0] == pytest.approx(right.mean(), abs=1e-12)
    assert found.decision.images == len(tested)
    assert found.decision.units == len(np.unique(tested))
    assert found.scores["BitFit"] == tuple(part.panel.right["BitFit"].mean() for part in parts)
    assert "all answers to an image count as one" in found.said


def test_repeated_folds_test_every_image_as_often(digits):
    few = digits.split("train")
    small = replace(digits, splits={"train": few, "val": few[:0], "test": few[:0]})
    parts = dict(split_data(small, 3, 2, 0))
    assert list(parts) == [f"repeat{r}-fold{k}" for r in range(2) for k in range(3)]
    tested = np.concatenate([part.splits["test"] for part in parts.values()])
    np.testing.assert_array_equal(np.unique(tested), few)
    assert (np.unique(tested, return_counts=True)[1] == 2).all()
    first, second = (parts[f"repeat{r}-fold0"].splits["test"] for r in range(2))
    assert not np.array_equal(first, second)
