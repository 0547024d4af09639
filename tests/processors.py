"""The suite under settings that make this processor compute as others do: `make test-processors`.

Prints one line a setting; arguments go to pytest. Ends with 1 where a setting is red.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Each makes a library choose other kernels; the last moves last bits by shape and layout.
SETTINGS: dict[str, tuple[dict[str, str], list[str]]] = {
    "1 thread": ({}, ["--threads", "1"]),
    "2 threads": ({"OPENBLAS_NUM_THREADS": "2"}, ["--threads", "2"]),
    "ATen without vectors": ({"ATEN_CPU_CAPABILITY": "default"}, []),
    "ATen for AVX2": ({"ATEN_CPU_CAPABILITY": "avx2"}, []),
    "oneDNN for SSE4.1": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, []),
    "MKL for any processor": ({"MKL_CBWR": "COMPATIBLE"}, []),
    "OpenBLAS for Haswell": ({"OPENBLAS_CORETYPE": "Haswell"}, []),
    "other rounding": ({}, ["--other-rounding"]),
}


def suite(environment: dict[str, str], options: list[str]) -> tuple[bool, str]:
    """Whether the suite is green under a setting, and pytest's last line."""
    command = ["-m", "pytest", "-q", "--tb=short", "-n", "2", "--dist", "worksteal", *options]
    with tempfile.TemporaryDirectory() as cache:
        # torch keeps compiled code by graph alone, and would load that of another setting.
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, **environment}
        done = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True
        )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
    return done.returncode == 0, (done.stdout.strip().splitlines() or ["no output"])[-1]


def main() -> int:
    chosen = sys.argv[1:] or ["--ignore", str(Path(__file__).parent / "outside")]
    red = []
    for name, (environment, options) in SETTINGS.items():
        begun = time.monotonic()
        green, last = suite(environment, [*options, *chosen])
        print(
            f"{name:22} {'green' if green else 'RED':6} {time.monotonic() - begun:5.0f} s  {last}"
        )
        sys.stdout.flush()
        red += [] if green else [name]
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
