"""Repeated searches are judged as repetitions: what choosing again changes is in the spread."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foldtune.errors import InputError
from foldtune.report.verdict import over_searches
from foldtune.study.results.artefacts import LOGITS
from foldtune.study.results.logits import write_logits
from foldtune.study.results.repeats import decide_over_repeats
from foldtune.study.results.store import Store

IMAGES = 300


def write(folder: Path, search, accuracies, *, seeds=2, rows=None, identity="a"):
    """A study with final runs of these accuracies, right about images in nearly one order."""
    rng = np.random.default_rng(search)
    labels = np.zeros(IMAGES, int)
    place = (np.arange(IMAGES) + 0.5) / IMAGES
    with Store(folder) as store:
        for label, accuracy in accuracies.items():
            same = {"label": label, "method": f"{label}()", "trainable": 1, "verdict": "finished",
                    "data_identity": identity, "recipe": {"lr": 0.1}}  # fmt: skip
            store.add({**same, "run": f"{label}t", "stage": "trial", "seed": search,
                       "val_accuracy": accuracy})  # fmt: skip
            for seed in range(seeds):
                right = place < accuracy + rng.normal(0, 0.05, IMAGES)
                run = f"{label}{seed}"
                (folder / "runs" / run).mkdir(parents=True)
                logits = torch.from_numpy(np.where(right[:, None], [1.0, 0], [0, 1.0])).float()
                path = folder / "runs" / run / LOGITS
                write_logits(logits, labels, np.arange(IMAGES) if rows is None else rows, path)
                found = {"test_accuracy": float(right.mean()), "test_images": IMAGES}
                store.add(
                    {**same, **found, "run": run, "stage": "final", "seed": search + 1 + seed}
                )
    return folder


@pytest.fixture
def searches(tmp_path):
    """Three searches that A wins by little, or by much, as its learning rate was found."""
    return [write(tmp_path / str(s), 10 * s, {"A": a, "B": 0.70, "C": 0.3})
            for s, a in enumerate((0.71, 0.86, 0.74))]  # fmt: skip


def test_searches_are_the_repetitions_and_their_spread_counts(searches):
    found = decide_over_repeats(searches)
    assert found.covers == "images, seeds and searches"
    assert found.seeds == (3, 3, 3)
    accuracies = [np.mean([0.71, 0.86, 0.74]), 0.70, 0.3]
    assert found.accuracy == pytest.approx(accuracies, abs=0.02)
    assert found.seed_sd[0] == pytest.approx(np.std([0.71, 0.86, 0.74], ddof=1), rel=0.5)
    assert not found.between("A", "B").apart
    assert found.between("A", "B").images_share < 0.5
    assert found.between("B", "C").apart
    said = " ".join(over_searches(found))
    assert "over new images, new training seeds and new searches" in said
    assert "3 searches" in said


def test_one_study_is_no_repetition(searches):
    with pytest.raises(InputError, match="two or more"):
        decide_over_repeats(searches[:1] * 2)


def test_other_test_images_are_refused(searches, tmp_path):
    other = write(tmp_path / "x", 50, {"A": 0.7, "B": 0.6}, rows=np.arange(IMAGES) + 1)
    with pytest.raises(InputError, match="other images than the first"):
        decide_over_repeats([searches[0], other])
    other = write(tmp_path / "y", 50, {"A": 0.7, "B": 0.6}, identity="b")
    with pytest.raises(InputError, match="--search-seed 1"):
        decide_over_repeats([searches[0], other])


def test_the_same_search_twice_is_refused(searches, tmp_path):
    same = write(tmp_path / "x", 0, {"A": 0.7, "B": 0.6})
    with pytest.raises(InputError, match="repeats nothing"):
        decide_over_repeats([searches[0], same])


def test_methods_of_one_study_alone_are_refused(searches, tmp_path):
    other = write(tmp_path / "x", 50, {"A": 0.7, "Z": 0.6})
    with pytest.raises(InputError, match="1 tested methods in common"):
        decide_over_repeats([searches[0], other])
