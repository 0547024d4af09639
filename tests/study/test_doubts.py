"""Labels that were exchanged are found by probes that did not see the image."""

import csv
import sys
from dataclasses import replace

import numpy as np
import pytest

from foldtune.analysis.judgement.doubts import RULES, doubtful
from foldtune.backbones import load_backbone
from foldtune.errors import InputError
from foldtune.study.doubts import doubts, write_doubts
from foldtune.tasks.kinds import MultiLabel


def test_doubt_is_what_the_paper_counts():
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]])
    labels = np.array([0, 0, 0, 1, 1])
    # Usual: class 0 (0.9 + 0.6 + 0.2) / 3 = 0.57, class 1 0.8: image 2 is at 0.8, no less.
    found, seems = doubtful(shares, labels)
    assert (found.tolist(), seems.tolist()) == ([2], [1])


def test_without_cleanlab_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(InputError, match=r"pip install 'foldtune\[cleanlab\]'"):
        RULES["cleanlab"](np.eye(2), np.arange(2))


def test_exchanged_labels_are_found(digits, tmp_path):
    draw = np.random.default_rng(0)
    few = np.sort(draw.permutation(len(digits.labels))[:300])
    labels = digits.labels.copy()
    wrong = few[draw.permutation(300)[:15]]
    labels[wrong] = (labels[wrong] + draw.integers(1, 10, 15)) % 10
    data = replace(digits, labels=labels, splits={"train": few, "val": few[:0], "test": few[:0]})
    rows = doubts(data, load_backbone("micro", size=16))
    names = {data.names[row] for row in wrong}
    first = {row["image"] for row in rows[:15]}
    assert len(first & names) >= 10  # blindly drawn it is one
    assert len(rows) < 60
    assert all(row["label"] != row["seems"] and row["split"] == "train" for row in rows)
    other = doubts(data, load_backbone("micro", size=16), by="cleanlab")
    assert len({row["image"] for row in other[:15]} & names) >= 10
    assert all(row["label"] != row["seems"] for row in other)
    with pytest.raises(InputError, match="unknown rule of doubt 'cleanlap'; choose from: cleanlab"):
        doubts(data, load_backbone("micro", size=16), by="cleanlap")
    with write_doubts(rows, tmp_path / "doubts.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == [row["image"] for row in rows]
    with pytest.raises(InputError, match="one class an image"):
        doubts(replace(data, task=MultiLabel()), load_backbone("micro", size=16))
