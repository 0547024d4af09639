"""The page says of the test images whether they were trained on, or that nobody can tell."""

import json

import numpy as np
import pytest
from judged import IMAGES, write_judged
from safetensors.numpy import load_file, save_file

from foldtune.errors import InputError
from foldtune.report.page import write_report
from foldtune.study.results.pictures import MEMBERSHIP
from foldtune.study.results.store import Store


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_judged(tmp_path_factory.mktemp("study"), pictures=False)


def said(study, keys=None):
    """The page where test row n shows picture n, and training the pictures `keys`."""
    if keys is not None:
        rows = np.stack([np.r_[np.arange(IMAGES), keys]] * 2, axis=1)
        train = np.arange(IMAGES, len(rows))
        kept = {"rows": rows, "train": train, "val": train[:0], "test": np.arange(IMAGES)}
        save_file(kept, study / MEMBERSHIP)
    return write_report(study).read_text()


def test_a_study_without_membership_says_so(study):
    (study / MEMBERSHIP).unlink(missing_ok=True)
    assert "This study keeps no membership" in said(study)


def test_test_images_are_looked_up_among_those_trained_on(study):
    assert f"Each of the {IMAGES} test images was looked up" in said(study, [500, 501])
    assert f"2 of {IMAGES} test images were trained on" in said(study, [500, 3, 4])


def test_a_damaged_membership_is_none(study):
    said(study, [500])
    kept = load_file(study / MEMBERSHIP)
    save_file(kept | {"train": kept["train"] + 10_000}, study / MEMBERSHIP)
    assert "This study keeps no membership" in said(study)


def test_conflicts_in_the_data_are_on_the_page(study):
    told = Store(study).description()
    line = "one image has two labels: a/1.png (a) = b/2.png (b)"
    about = told | {"data_warnings": [line], "conflicts": "drop"}
    with Store(study) as store:
        store.write_description(about)
    page = said(study)
    assert f"Of the data: {line}." in page
    assert "Conflicts in the data were left out." in page


def test_figures_that_include_what_was_trained_on_are_no_part_of_a_page(study, tmp_path):
    told = {"shifts": [{"shift": "sketch", "top1": 0.4, "home_including_trained": 0.9}]}
    (tmp_path / "a.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"trained on \(--include-trained\), which are no"):
        write_report(study, shifts=[tmp_path / "a.json"])
