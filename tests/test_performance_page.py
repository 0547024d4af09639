"""docs/performance.md is what the kept results give, and its lines have one form."""

import argparse
import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield lambda name: importlib.import_module(name)
    for name in ("_lines", "performance_page"):
        sys.modules.pop(name, None)


def test_the_page_is_made_from_the_kept_results(scripts):
    made = scripts("performance_page")
    assert made.PAGE.read_text(encoding="utf-8") == made.page(made.latest(made.RESULTS))


def test_every_kept_line_has_the_common_form(scripts):
    wanted = {"benchmark", "figure", "value", "unit", "aim", "met", "device", "threads", "cores",
              "versions", "command", "date"}  # fmt: skip
    for file in (BENCHMARKS / "results").glob("*.jsonl"):
        for text in file.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            assert wanted <= line.keys()
            assert line["benchmark"] == file.stem


def test_every_benchmark_of_the_page_is_a_script(scripts):
    assert all((BENCHMARKS / f"{name}.py").exists() for name in scripts("performance_page").ABOUT)


def test_a_kept_line_stands_on_the_page_and_the_last_one_wins(scripts, tmp_path, capsys):
    lines, made = scripts("_lines"), scripts("performance_page")
    asked = argparse.Namespace(results=tmp_path)
    for value in (3.0, 2.5):
        lines.Lines("step_time", asked).tell("SSF: step / forward", value, "ratio", "<= 2.3")
    text = made.page(made.latest(tmp_path))
    assert "2.5" in text
    assert "| 3" not in text
    assert "0 of 1 figures with an aim reach it" in text
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("value", "aim", "met"),
    [(1.2, "<= 1.2", True), (1.21, "<= 1.2", False), (0.9, ">= 0.9", True), (0, "= 0", True),
     (0.97, "0.98 to 1.02", False), (1.0, "0.98 to 1.02", True), (5, None, None)],
)  # fmt: skip
def test_an_aim_is_judged(scripts, value, aim, met):
    assert scripts("_lines").met(value, aim) is met
