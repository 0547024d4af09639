"""One method, one training: what it trains on."""

import pytest

from foldtune.errors import InputError
from foldtune.study.fit import fit


def test_fit_trains_on_validation_too_where_asked_and_does_not_watch_it(digits, backbone, tmp_path):
    found = fit(digits, backbone, "LinearProbe", train_on=("train", "val"), out=tmp_path)
    assert "val_accuracy" not in found.row
    assert found.row["test_images"] == len(digits.split("test"))
    found.attachment.detach()
    less = fit(digits, backbone, "LinearProbe")
    assert less.row["val_accuracy"] > 0.5
    assert less.row["run"] != found.row["run"]
    assert less.row["probe"]["nll"] != found.row["probe"]["nll"]


def test_splits_that_are_not_for_training_are_refused(digits, backbone):
    with pytest.raises(InputError, match="train val"):
        fit(digits, backbone, "LinearProbe", train_on=("train", "test"))
