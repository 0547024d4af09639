"""Seconds to the first answer of the command line, each in a process of its own, in turn.

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
from collections.abc import Sequence

from _lines import Lines, add_results

FOLDTUNE = ("-m", "foldtune")
CALLS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "foldtune --help": ((*FOLDTUNE, "--help"), "<= 0.3"),
    "foldtune methods": ((*FOLDTUNE, "methods"), None),
    "import torch": (("-c", "import torch"), None),
    "foldtune inspect micro": ((*FOLDTUNE, "inspect", "micro"), "<= 3"),
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--rounds", type=int, default=5)
    add_results(options)
    asked = options.parse_args()
    lines = Lines("startup", asked)
    for words, _ in CALLS.values():
        once(words)  # the first reads the disk
    found: dict[str, list[tuple[float, float]]] = {call: [] for call in CALLS}
    for _ in range(asked.rounds):
        for call, (words, _) in CALLS.items():
            found[call].append(once(words))
    for call, (_, aim) in CALLS.items():
        clocks, processors = zip(*found[call], strict=True)
        lines.tell(
            call, statistics.median(clocks), "s", aim, lowest=min(clocks), highest=max(clocks),
            processor_seconds=statistics.median(processors),
        )  # fmt: skip


def once(words: Sequence[str]) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    # As for a user, whose Python keeps what it has compiled.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
