"""Measure everything, one after the other, keep the lines, and write docs/performance.md again.

    python benchmarks/all.py [--only NAME ...] [--small] [--list]

On a quiet machine: other work changes every figure of the clock. --small runs each at a size that
shows only that it runs, and keeps nothing. Times are of two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
# Name, arguments, arguments of the small size, minutes, threads.
ALL = (
    ("startup", "", "--rounds 1", 1, 2),
    ("step_time", "--batch 16 --rounds 9", "--model micro --batch 4 --rounds 2", 4, 2),
    (
        "step_time", "--batch 32 --rounds 11 "
        "--methods floor LayerNorm SSF BitFit LoRA(rank=8) AdaptFormer(rank=8)",
        "--model micro --batch 32 --rounds 2 --methods floor", 9, 2,
    ),
    (
        "step_time", "--model vit_base_patch16_224 --batch 32 --rounds 7 "
        "--methods floor LayerNorm SSF BitFit LoRA(rank=8) AdaptFormer(rank=8)",
        "--model micro --batch 32 --rounds 1 --methods floor", 19, 2,
    ),
    ("against_peft", "--rounds 9", "--model micro --batch 4 --rounds 2", 2, 2),
    (
        "throughput", "--compile",
        "--batch 4 --rounds 1 --steps 1 --methods BitFit", 5, 1,
    ),
    (
        "throughput", "--model resnet18 --batch 8 --steps 2 --methods SSF --channels-last",
        "--model resnet18 --batch 2 --rounds 1 --steps 1 --methods SSF --channels-last", 2, 1,
    ),
    ("mixed", "--rounds 9", "--model micro --batch 8 --rounds 2", 2, 2),
    ("merged", "--rounds 31", "--hosts micro --batch 2 --rounds 3", 6, 2),
    ("probe_grid", "", "--images 128 --epochs 3 --rounds 1", 2, 2),
    (
        "probe_grid", "--model vit_small_patch16_224 --images 500",
        "--model vit_small_patch16_224 --images 4 --epochs 2 --rounds 1", 8, 2,
    ),
    ("stacked", "--whole", "--trials 2 --batches 4 --rounds 1 --methods LinearProbe", 3, 1),
    ("prefix", "--images 1000 --epochs 20", "--images 64 --epochs 2", 3, 2),
    ("end_to_end", "--rounds 1", "--images 256 --epochs 1 --side 100", 25, 2),
    ("decode", "", "--images 60 --size 32 --rounds 1", 4, 2),
    ("checking", "", "--rounds 1 --shots 2", 4, 1),
    ("bit_flips", "", "--flips 4 --images 4 --size 4", 9, 2),
    ("executors", "", "--runs 2 --epochs 1 --shots 2 --short 2 --only overhead", 6, 1),
    ("open_store", "", "--rows 100", 1, 1),
    ("analysis_speed", "", "--methods 2 --seeds 2 --images 200 --classes 10 --draws 20", 1, 1),
    ("page", "", "--methods 2 --seeds 2 --images 100 --classes 4 --trials 1", 2, 1),
    ("kills", "--kills 184 --ray 20", "--kills 2", 15, 1),
)  # fmt: skip


def main() -> None:
    """Run them; the exit code is 1 where one failed."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--only", nargs="+", default=None)
    options.add_argument("--small", action="store_true")
    options.add_argument("--list", action="store_true")
    asked = options.parse_args()
    chosen = [one for one in ALL if asked.only is None or one[0] in asked.only]
    print(f"{len(chosen)} benchmarks, about {sum(o[3] for o in chosen)} minutes", file=sys.stderr)
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, arguments, small, minutes, threads in chosen:
            words = (small if asked.small else arguments).split()
            print(f"# {name} {' '.join(words)} ({minutes} min)", file=sys.stderr, flush=True)
            if asked.list:
                continue
            keep = ["--results", scratch] if asked.small else ["--results"]
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, str(HERE / f"{name}.py"), *words, *keep],
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            )
            failed += [name] * (done.returncode != 0)
            print(f"# {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    if not (asked.small or asked.list):
        subprocess.run([sys.executable, str(HERE / "performance_page.py")], check=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
