"""The suite under settings that make this processor compute as others do: `make test-processors`.

Settings of different libraries do not meet, so each run takes one of every library: three runs try
all of them. --each: one by one, to find whose a failure is. Other arguments go to pytest. Prints a
line a run, and ends with 1 where one is red.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

Setting = tuple[dict[str, str], list[str]]  # environment, pytest's options

# Each makes a library choose other kernels; the last moves last bits by shape and layout.
SETTINGS: dict[str, Setting] = {
    "1 thread": ({}, ["--threads", "1"]),
    "2 threads": (
        # One that waits for the other gives its core away: who else works there is not held up.
        {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
        ["--threads", "2"],
    ),
    "ATen without vectors": ({"ATEN_CPU_CAPABILITY": "default"}, []),
    "ATen for AVX2": ({"ATEN_CPU_CAPABILITY": "avx2"}, []),
    "oneDNN for SSE4.1": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, []),
    "MKL for any processor": ({"MKL_CBWR": "COMPATIBLE"}, []),
    "OpenBLAS for Haswell": ({"OPENBLAS_CORETYPE": "Haswell"}, []),
    "other rounding": ({}, ["--other-rounding"]),
}
TOGETHER = (
    ("1 thread", "ATen without vectors", "oneDNN for SSE4.1", "MKL for any processor"),
    ("2 threads", "ATen for AVX2", "OpenBLAS for Haswell"),
    ("1 thread", "other rounding"),
)


def joined(names: tuple[str, ...]) -> Setting:
    """Several settings at once."""
    environment: dict[str, str] = {}
    options: list[str] = []
    for name in names:
        environment |= SETTINGS[name][0]
        options += SETTINGS[name][1]
    return environment, options


def suite(environment: dict[str, str], options: list[str]) -> tuple[bool, str]:
    """Whether the suite is green under a setting, and pytest's last line."""
    # Two workers of two threads each on two cores take three times as long as one.
    workers = "1" if "2" in options else "2"
    command = ["-m", "pytest", "-q", "--tb=short", "-n", workers, "--dist", "worksteal", *options]
    with tempfile.TemporaryDirectory() as cache:
        # torch keeps compiled code by graph alone, and would load that of another setting.
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, **environment}
        # A file: the end of a pipe is waited for while any process that a test left holds it.
        log = Path(cache) / "log"
        with log.open("w") as to:
            done = subprocess.run(
                [sys.executable, *command], env=environment, stdout=to, stderr=subprocess.STDOUT
            )
        said = log.read_text()
    if done.returncode:
        print(said)
    return done.returncode == 0, (said.strip().splitlines() or ["no output"])[-1]


def main() -> int:
    each = "--each" in sys.argv
    chosen = [word for word in sys.argv[1:] if word != "--each"]
    chosen = chosen or ["--ignore", str(Path(__file__).parent / "outside")]
    red = []
    for names in [(name,) for name in SETTINGS] if each else TOGETHER:
        environment, options = joined(names)
        begun = time.monotonic()
        green, last = suite(environment, [*options, *chosen])
        word, took = "green" if green else "RED", time.monotonic() - begun
        print(f"{', '.join(names)}: {word}, {took:.0f} s, {last}", flush=True)
        red += [] if green else [names]
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
