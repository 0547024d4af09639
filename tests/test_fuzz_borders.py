"""Seeded hostile files and texts are refused in one line; `make fuzz` gives thousands."""

import json
import os
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[1] / "benchmarks/fuzz/borders.py"


def test_hostile_files_do_no_more_than_be_refused():
    kinds = ("tuning", "weights", "peft", "method")
    done = subprocess.run(
        [sys.executable, str(FUZZ), "--cases", "60", "--seed", "3", "--only", *kinds],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    *told, memory = map(json.loads, done.stdout.splitlines())
    assert [line["figure"] for line in told] == [f"{kind}: faults" for kind in kinds]
    assert all(line["value"] == 0 and line["ends"].get("2") for line in told)
    assert memory["met"]
