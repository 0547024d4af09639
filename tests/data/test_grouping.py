"""No patient is in two splits, and each class still comes near its share."""

import numpy as np
import pytest

from data.conftest import encoded
from foldtune.data import load_data
from foldtune.data.grouping import draw_by_groups
from foldtune.errors import InputError

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def cohort(patients=40, images=5):
    """Patients of one class each; the images of one are alike in nothing but the patient."""
    groups = [f"p{n}" for n in range(patients) for _ in range(images)]
    labels = np.array([n % 4 for n in range(patients) for _ in range(images)])
    return groups, labels, [f"key {n}" for n in range(len(groups))]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_group_is_parted_and_classes_stay_in_proportion(seed):
    groups, labels, keys = cohort()
    classes = ["a", "b", "c", "d"]
    drawn = draw_by_groups(np.arange(len(labels)), labels, keys, groups, classes, SHARES, seed)
    held = [{groups[row] for row in rows} for rows in drawn.values()]
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    assert sum(map(len, drawn.values())) == len(labels)
    for name, rows in drawn.items():
        assert np.bincount(labels[rows]).tolist() == [round(50 * SHARES[name])] * 4


def test_too_few_groups_are_refused():
    groups, labels, keys = cohort(patients=4)
    with pytest.raises(InputError, match="4 groups are too few"):
        draw_by_groups(np.arange(len(labels)), labels, keys, groups, list("abcd"), SHARES, 0)


@pytest.fixture
def table(tmp_path):
    rows = ["file,path,label,patient,split"]
    (tmp_path / "i").mkdir()
    for n in range(24):
        (tmp_path / "i" / f"{n}.png").write_bytes(encoded(n))
        split = "train" if n < 16 else "test"
        rows.append(f"x,i/{n}.png,{'ab'[n % 2]},p{n // 4},{split}")
    (tmp_path / "scans.csv").write_text("\n".join(rows))
    return tmp_path / "scans.csv"


def test_a_group_column_keeps_patients_together(table, tmp_path):
    data = load_data(f"files:group=patient@{table}", size=8, cache=tmp_path / "cache")
    patient = [int(name[2:-4]) // 4 for name in data.names]
    held = [{patient[row] for row in data.split(split)} for split in ("train", "val", "test")]
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    assert data.facts["split_rule"].startswith("val: by groups, nearly stratified 20 % of train")


def test_given_splits_that_part_a_patient_are_refused(table, tmp_path):
    table.write_text(table.read_text().replace("17.png,b,p4", "17.png,b,p3"))
    with pytest.raises(InputError, match=r"1 groups are in train and in test \(p3\)"):
        load_data(f"files:group=patient@{table}", size=8, cache=tmp_path / "cache")


def test_a_missing_group_column_is_refused(table):
    with pytest.raises(InputError, match="no column ward to group by; it has: file, path"):
        load_data(f"files:group=ward@{table}", size=8)
