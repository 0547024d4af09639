"""The table of docs/analysis.md is what the kept cells of the simulation give."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def judgement(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    yield importlib.import_module("judgement")
    for name in ("judgement", "_lines"):
        sys.modules.pop(name, None)


def test_the_table_of_the_simulation_is_that_of_its_results(judgement):
    page = judgement.PAGE.read_text()
    rows = judgement.kept(judgement.KEPT)
    assert page == judgement.with_table(page, rows), "python benchmarks/judgement.py --page"
    assert len(rows) == 3 * 6 * 4 * 3, "three accuracies of images x seeds x noise"


def test_no_cell_calls_methods_different_too_often(judgement):
    errors = [row["family_error"] for row in judgement.kept(judgement.KEPT)]
    assert max(errors) <= 7
    assert sorted(errors)[len(errors) // 2] <= 5


def test_a_cell_is_drawn_again_only_for_more_studies(judgement, monkeypatch, tmp_path, capsys):
    words = [
        "judgement",
        "--images",
        "30",
        "--seeds",
        "2",
        "--noise",
        "1",
        "--results",
        f"{tmp_path}",
    ]

    def lines(*more):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        judgement.main()
        return len(capsys.readouterr().out.splitlines())

    assert lines("--repetitions", "3") == 1
    assert lines("--repetitions", "3") == 0
    assert lines("--repetitions", "4") == 1
    (row,) = judgement.kept(tmp_path)
    assert row["repetitions"] == 4
