"""A study killed at random moments, writes included, ends as one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

KILLS = Path(__file__).parents[2] / "benchmarks/kills.py"


def test_kills_lose_nothing_and_change_nothing(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(KILLS), "--kills", "4", "--seed", "1", "--folder", str(tmp_path)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] >= 4
    faults = ("lost", "twice", "changed", "unbound", "different")
    assert {name: told[name] for name in faults} == dict.fromkeys(faults, 0)
