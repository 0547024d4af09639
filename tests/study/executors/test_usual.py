"""Where nobody says who executes a study, a long one on a CPU goes to a process a core."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from foldtune.processes import cores, memory
from foldtune.study.compare import compare
from foldtune.study.executors import usual
from foldtune.study.executors.processes import at_once
from foldtune.study.executors.usual import usual_executor
from foldtune.training.recipe import Recipe

pytestmark = pytest.mark.skipif(cores() == 1, reason="one core has no use for several processes")
LONG = [(Recipe(epochs=10_000), 100, 100)]


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_long_study_goes_to_processes(bench):
    trained = [p.requires_grad for p in bench.backbone.model.parameters()]
    assert usual_executor(bench, LONG, own=False) == "processes"
    assert [p.requires_grad for p in bench.backbone.model.parameters()] == trained


def test_a_short_one_stays(bench):
    assert usual_executor(bench, [(Recipe(epochs=1), 1, 1)], own=False) is None
    assert (
        usual_executor(bench, [(replace(LONG[0][0], epochs=0, warmup_epochs=0), 9, 9)], own=False)
        is None
    )


def test_what_workers_would_not_find_stays(bench, digits):
    assert usual_executor(bench, LONG, own=True) is None
    bench.data = replace(digits, pixels=np.array(digits.pixels))
    assert usual_executor(bench, LONG, own=False) is None


def test_one_thread_means_one_core(bench):
    torch.set_num_threads(1)
    assert usual_executor(bench, LONG, own=False) is None


def test_too_little_memory_for_all_keeps_one_process(bench):
    assert usual_executor(bench, LONG, own=False, room=2**20) is None


def test_memory_is_that_of_the_container(tmp_path):
    limit = tmp_path / "memory.max"
    whole = memory(limit)
    limit.write_text("max\n")
    assert memory(limit) == whole > 2**20
    limit.write_text(f"{2**20}\n")
    assert memory(limit) == 2**20


def test_a_comparison_asks(monkeypatch, digits, backbone, recipe, tmp_path):
    monkeypatch.setattr(usual, "WORTH", 0)  # a study of seconds stands for a long one
    short = replace(recipe, epochs=1, warmup_epochs=0.1)
    options = {"recipe": short, "trials": 1, "seeds": 1}
    for out, more, workers in (
        (tmp_path / "usual", {}, at_once()),
        (tmp_path / "one", {"workers": 1}, 1),
    ):
        compare(digits, backbone, ["BitFit"], out=out, **options, **more)
        assert json.loads((out / "study.json").read_text())["workers"] == workers
