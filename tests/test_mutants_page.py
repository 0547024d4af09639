"""docs/mutants.md is what the kept survivors give, and a run keeps the verdicts."""

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def mutants(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("mutants")
    sys.modules.pop("mutants", None)


def test_the_page_is_made_from_the_kept_survivors(mutants):
    kept = json.loads(mutants.KEPT.read_text(encoding="utf-8"))
    assert mutants.PAGE.read_text(encoding="utf-8") == mutants.page(kept)


def test_every_survivor_has_a_verdict_and_no_equivalent_one_goes_unexplained(mutants):
    survivors = json.loads(mutants.KEPT.read_text(encoding="utf-8"))["survivors"]
    assert {row["verdict"] for row in survivors} <= set(mutants.VERDICTS)
    assert all(row["why"] for row in survivors if row["verdict"] == mutants.EQUIVALENT)


@pytest.mark.parametrize(
    ("change", "little"),
    [
        ('- raise InputError("no image")\n+ raise InputError("XXno imageXX")', True),
        ("- x = f(y)\n+ x = f(None)", True),
        ("- return None\n+ return 1", False),
        ("- if x > 1:\n+ if x >= 1:", False),
        ('- f(x, "mean")\n+ f(x, )', False),
    ],
)
def test_what_tells_little_is_not_drawn(mutants, change, little):
    assert mutants.tells_little(change) is little


def test_a_sample_is_seeded_and_each_folders_own(mutants):
    names = [f"foldtune.{folder}.m.x_f__mutmut_{i}" for folder in mutants.FOLDERS for i in range(9)]
    drawn = [mutants.sample(names, 4, seed, lambda name: f"- a\n+ {name}") for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for folder, its in drawn[0].items():
        assert len(set(its)) == 4
        assert all(name.startswith(f"foldtune.{folder}.") for name in its)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("foldtune.analysis.tasks.ranks.x_ranks_of__mutmut_12", "analysis/tasks/ranks.py ranks_of"),
        ("foldtune.analysis.tasks.ranks.x__cliques__mutmut_1", "analysis/tasks/ranks.py _cliques"),
        ("foldtune.data.store.decode.xǁFitǁapply__mutmut_3", "data/store/decode.py Fit.apply"),
        ("foldtune.augment.corruptions.blur.x_blur__mutmut_1", "augment/corruptions/blur.py blur"),
    ],
)
def test_a_mutant_is_named_by_its_file_and_function(mutants, name, where):
    assert mutants.where(name) == where


def test_a_run_keeps_verdicts_and_tells_what_died_since(mutants):
    def row(change, verdict="", why=""):
        return {"where": "f.py f", "change": change, "verdict": verdict, "why": why}

    kept = [row("a", "equivalent", "speed"), row("b", "open"), row("c", "open"),
            row("d", "killed since", "test_d")]  # fmt: skip
    results = {"a": "survived", "b": "killed", "d": "survived", "e": "no tests", "f": "killed"}
    tried = [{"where": "f.py f", "change": c, "result": r} for c, r in results.items()]
    found = {r["change"]: (r["verdict"], r["why"]) for r in mutants.merged(kept, tried)}
    assert found == {
        "a": ("equivalent", "speed"),
        "b": ("killed since", ""),
        "c": ("open", ""),  # not tried
        "d": ("open", "test_d"),  # its test is gone or no longer tells
        "e": ("open", ""),
    }
