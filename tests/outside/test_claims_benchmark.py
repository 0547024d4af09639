"""The benchmark of the papers' claims runs to its page at toy size, and goes on from there."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foldtune.augment.corruptions import CORRUPTIONS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def quick(out, *more):
    command = [sys.executable, "claims.py", "--quick", "--out", str(out), *more]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_claim_is_judged_from_rows_and_a_second_call_runs_nothing(tmp_path):
    asked = ("--page", str(tmp_path / "page.md"), "--figures", str(tmp_path / "page.html"))
    told = quick(tmp_path / "claims", *asked)
    page = (tmp_path / "page.md").read_text()
    drawn = (tmp_path / "page.html").read_text()
    for claim in ("close together", "different mistakes", "Ensembles", "many images"):
        assert any(claim in part.partition("</h2>")[0] for part in drawn.split("<h2>"))
    assert drawn.count("<svg") >= 4
    for claim in ("close together", "different mistakes", "Ensembles", "many images"):
        assert claim in told
        assert claim in page
    assert page.count("What would change it:") >= 4
    rows = {p: p.read_bytes() for p in (tmp_path / "claims").glob("*/*/rows.jsonl")}
    assert len(rows) == 5  # two sets, two starts, a point of a curve
    again = quick(tmp_path / "claims")
    assert again.splitlines()[-1] == told.splitlines()[-1]
    assert {p: p.read_bytes() for p in rows} == rows
    kept = tmp_path / "claims" / "claims.jsonl"
    part = tmp_path / "part"
    quick(part, "--only", "few", "curve", "--sets", "digits", "--shots", "4")
    assert [p.name for p in part.glob("*/micro-*")] == ["micro-digits-4"]
    # Where only the lines are left, all of the page is made from them.
    for kind in ("few", "robust", "curve"):
        shutil.rmtree(tmp_path / "claims" / kind)
    quick(tmp_path / "elsewhere", "--only", "none", "--results", str(kept), *asked)
    assert (tmp_path / "page.md").read_text() == page
    assert (tmp_path / "page.html").read_text() == drawn


_FRONTIERS = """
from _claims_figures import figures

points = [
    {"group": start, "label": label, "alpha": alpha, "home": 70 + alpha, "away": 30 - alpha}
    for start in ("zero", "regularised") for label in ("LoRA", "Full") for alpha in (0.0, 0.5, 1.0)
]
claim = {"claim": "<b>", "verdict": "open", "sentence": "s", "change": "c", "points": points}
page = figures([claim, {**claim, "points": []}], "a command")
assert page.count("<svg") == 2 and "start: zero" in page and "start: regularised" in page
assert "<b>" not in page and "http" not in page.replace("http://www.w3.org", "")
"""


_FEWER = """
import numpy as np
from _claims_sets import fewer
from foldtune.judging.shift import Target

labels = np.repeat([0, 1], [250, 30])
one, other = (fewer(Target(n, np.zeros(1), np.arange(280), labels), 100) for n in "ab")
assert np.bincount(one.labels).tolist() == [100, 30]
assert (labels[one.rows] == one.labels).all() and (one.rows == other.rows).all()
"""


_MOVED = """
from _claims_kept import is_of_today, rates_of

line = {"rates": {"LinearProbe": rates_of("LinearProbe"), "Full": rates_of("Full")}}
assert is_of_today(line)
line["rates"]["Full"] = [line["rates"]["Full"][0], 1.0]
assert not is_of_today(line)
"""
UNREACHED = {"frontiers": _FRONTIERS, "fewer": _FEWER, "moved": _MOVED}


@pytest.mark.parametrize("code", UNREACHED.values(), ids=UNREACHED)
def test_the_parts_that_the_toy_does_not_reach(code):
    # It has no other domain; nothing that is drawn is fetched.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_corruptions_of_the_full_size_are_there():
    # The toy has none of them.
    tree = ast.parse((BENCHMARKS / "claims.py").read_text())
    (named,) = (
        ast.literal_eval(node.value) for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CORRUPTIONS"
    )  # fmt: skip
    assert set(named) <= set(CORRUPTIONS)
