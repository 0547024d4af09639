"""One class an image, without an option, is what it was before there were tasks: to the bit."""

import json

import numpy as np
import pytest

from foldtune.analysis.decision import decide
from foldtune.backbones import load_backbone
from foldtune.methods import SSF
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.run import Run
from foldtune.study.results.artefacts import LOGITS
from foldtune.study.results.logits import read_logits
from foldtune.tasks.kinds import SingleLabel
from foldtune.training.recipe import Recipe

_TIMED = ("seconds", "images_per_second")


def told(row):
    """A row without what a clock says."""
    row = json.loads(json.dumps(row))
    row["curve"] = [{k: v for k, v in one.items() if k not in _TIMED} for one in row["curve"]]
    return {k: v for k, v in row.items() if k not in _TIMED}


def test_the_key_of_a_run_is_that_of_before():
    recipe = Recipe(epochs=2, warmup_epochs=0.2, batch_size=32, lr=3e-3, head_lr=None)
    parts = ("backbone", "data", "splits", ("train",), "probe", 1)
    run = Run("trial", "SSF", SSF(), recipe, 3, *parts)
    assert run.key == "39f1fed891bd1cb3"  # as the commit before tasks gives it
    assert "imbalance" not in run.row_fields()["recipe"]
    assert not {"task", "metric"} & run.row_fields().keys()
    keys = {
        Run("trial", "SSF", SSF(), recipe, 3, *parts, "MultiLabel()").key,
        Run("trial", "SSF", SSF(), recipe, 3, *parts, "", "kappa").key,
        run.key,
    }
    assert len(keys) == 3


@pytest.mark.parametrize("method", [SSF()], ids=repr)
def test_naming_the_defaults_gives_the_same_rows_and_logits(digits, recipe, tmp_path, method):
    rows = []
    for name, metric in (("plain", None), ("named", "accuracy")):
        bench = Bench(load_backbone("micro", size=16), digits, None, metric)
        run = bench.describe("fit", method, recipe, 0, head="regularised")
        rows.append(told(bench.execute(run, tmp_path / name)))
    assert rows[0] == rows[1]  # the hashes of logits and tuning among them
    stored = read_logits(tmp_path / "plain" / LOGITS)
    assert digits.task == SingleLabel()
    np.testing.assert_array_equal(stored.labels, digits.labels[stored.rows])
    right = stored.logits.argmax(1) == stored.labels
    assert rows[0]["test_accuracy"] == right.mean()
    assert decide({"A": right[None]}).accuracy[0] == pytest.approx(right.mean(), abs=1e-12)


def test_another_metric_changes_the_figures_and_nothing_that_is_trained(digits, recipe, tmp_path):
    rows = []
    for metric in (None, "balanced_accuracy"):
        bench = Bench(load_backbone("micro", size=16), digits, None, metric)
        run = bench.describe("fit", SSF(), recipe, 0, head="regularised")
        rows.append(bench.execute(run, tmp_path / str(metric)))
    plain, named = rows
    assert plain["files"][LOGITS] == named["files"][LOGITS]
    assert named["metric"] == "balanced_accuracy"
    assert named["test_accuracy"] == pytest.approx(plain["test"]["per_class"], abs=1e-12)
    assert named["test"]["accuracy"] == pytest.approx(plain["test_accuracy"], abs=1e-12)
    assert named["run"] != plain["run"]
