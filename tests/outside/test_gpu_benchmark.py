"""benchmarks/gpu.sh at its smallest size, on a CPU: so that it does not die on the card."""

import json
import os
import subprocess
import sys
from pathlib import Path

_FIGURES = (
    "merged against attached", "compiled against plain", "after resuming", "peak of a product",
    "SSF: images a second", "SSF, compiled: images a second",
    "as CUDA graphs against plain", "SSF, graphed: images a second", "the other, as CUDA graphs",
    "HF PEFT LoRA(rank=8), compiled",
    "full by hand, compiled", "as one stack",
)  # fmt: skip
SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.sh"


def test_the_gpu_benchmark_runs_at_toy_size_and_leaves_nothing(tmp_path):
    scratch, results = tmp_path / "scratch", tmp_path / "results"
    scratch.mkdir()
    done = subprocess.run(
        ["sh", str(SCRIPT), "--toy", "--results", str(results)],
        env={**os.environ, "PYTHON": sys.executable, "TMPDIR": str(scratch)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(scratch.iterdir()) == []
    lines = [json.loads(text) for text in (results / "gpu.jsonl").read_text().splitlines()]
    figures = [line["figure"] for line in lines]
    for wanted in _FIGURES:
        assert any(wanted in figure for figure in figures), wanted
    judged = [line for line in lines if line["aim"] is not None]
    assert len(judged) >= 6
    assert all(line["met"] for line in judged)
    assert "| SSF | compiled |" in done.stdout
