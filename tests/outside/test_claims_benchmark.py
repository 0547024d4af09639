"""The benchmark of the papers' claims runs to its page at toy size, and goes on from there."""

import ast
import subprocess
import sys
from pathlib import Path

from foldtune.augment.corruptions import CORRUPTIONS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def quick(out, *more):
    command = [sys.executable, "claims.py", "--quick", "--out", str(out), *more]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_claim_is_judged_from_rows_and_a_second_call_runs_nothing(tmp_path):
    told = quick(tmp_path / "claims", "--page", str(tmp_path / "page.md"))
    page = (tmp_path / "page.md").read_text()
    for claim in ("close together", "different mistakes", "Ensembles", "many images"):
        assert claim in told
        assert claim in page
    assert page.count("What would change it:") >= 4
    rows = {p: p.read_bytes() for p in (tmp_path / "claims").glob("*/*/rows.jsonl")}
    assert len(rows) == 6  # two sets, two starts, two sizes
    again = quick(tmp_path / "claims")
    assert again.splitlines()[-1] == told.splitlines()[-1]
    assert {p: p.read_bytes() for p in rows} == rows


def test_the_corruptions_of_the_full_size_are_there():
    # The toy has none of them.
    tree = ast.parse((BENCHMARKS / "claims.py").read_text())
    (named,) = (
        ast.literal_eval(node.value) for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CORRUPTIONS"
    )  # fmt: skip
    assert set(named) <= set(CORRUPTIONS)
