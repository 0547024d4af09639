"""One method, one training: what it trains on."""

import pytest

from foldtune.core.tuningfile import read
from foldtune.errors import InputError
from foldtune.methods import BitFit
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


def test_a_folder_with_another_runs_tuning_is_kept_and_replaced_only_where_asked(
    digits, backbone, recipe, tmp_path
):
    told = {"out": tmp_path, "recipe": recipe}
    first = fit(digits, backbone, BitFit(), **told)
    first.attachment.detach()
    kept = first.tuning.read_bytes()
    with pytest.raises(InputError, match=r"holds a tuning of BitFit\(\), of another run"):
        fit(digits, backbone, BitFit(), **told, seed=1)
    assert first.tuning.read_bytes() == kept
    again = fit(digits, backbone, BitFit(), **told)  # the same run: it gives the same
    again.attachment.detach()
    assert again.tuning.read_bytes() == kept
    fit(digits, backbone, BitFit(), **told, seed=1, overwrite=True).attachment.detach()
    assert read(first.tuning)[0]["training"]["seed"] == 1
    first.tuning.write_bytes(b"half")
    with pytest.raises(InputError, match="a tuning that cannot be read"):
        fit(digits, backbone, BitFit(), **told)
