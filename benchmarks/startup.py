"""Seconds to the first answer of the command line, each in a process of its own.

python benchmarks/startup.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from _lines import Lines, add_results

CALLS = {"--help": "<= 0.3", "methods": None, "inspect micro": "<= 3"}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--rounds", type=int, default=5)
    add_results(options)
    asked = options.parse_args()
    lines = Lines("startup", asked)
    for call, aim in CALLS.items():
        pairs = [once(call) for _ in range(asked.rounds + 1)][1:]  # the first reads the disk
        lines.tell(
            f"foldtune {call}", statistics.median(clock for clock, _ in pairs), "s", aim,
            processor_seconds=statistics.median(processor for _, processor in pairs),
        )  # fmt: skip


def once(call: str) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "foldtune", *call.split()]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
