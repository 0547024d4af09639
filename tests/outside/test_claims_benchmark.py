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
import json
from _claims_kept import is_of_today, trials_of

board = [{"label": "LinearProbe"}, {"label": "AdaptFormer"}]
tried = {one["label"]: trials_of(one["label"]) for one in board}
line = json.loads(json.dumps({"board": board, "tried": tried}))
assert is_of_today(line)
line["tried"]["AdaptFormer"][1]["lr"] = 1.0
assert not is_of_today(line) and not is_of_today({"board": board})
"""
_TABLE = """
from _claims_curves import untuned

def lines(full):
    for shots, train in ((8, 56), (0, 1400)):
        for seed in (0, 1):
            cell = ["lite0", "photo", shots, seed]
            yield {"cell": [*cell, "logistic"], "accuracy": 0.7, "train": train}
            for name in ("LinearProbe", "SSF", "BitFit", "LoRA"):
                yield {"cell": [*cell, name], "accuracy": 0.7 if name == "LinearProbe" else 0.8}
            yield {"cell": [*cell, "Full"], "accuracy": full if train > 56 else 0.6}

found = untuned(list(lines(0.85)))
assert found["verdict"] == "against" and "behind it from 1,400 on" in found["sentence"]
assert "-5.0 points from Full" in found["sentence"] and "+10.0 from the probe" in found["sentence"]
assert [row[:2] for row in found["table"][1:]] == [["photo", "56"], ["photo", "1,400"]]
assert untuned(list(lines(0.8)))["verdict"] == "for"
without = [x for x in lines(0.8) if x["cell"][-1] != "LoRA" or x["cell"][2]]
assert untuned(without)["verdict"] == "open" and untuned([]) is None
"""
UNREACHED = {"table": _TABLE, "frontiers": _FRONTIERS, "fewer": _FEWER, "moved": _MOVED}


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
