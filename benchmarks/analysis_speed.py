"""How long the analyses of a large study take; one JSON line a figure.

python benchmarks/analysis_speed.py --methods 20 --seeds 5 --images 10000 --classes 100
"""

import argparse
import resource
import time

import numpy as np
from _lines import Lines, add_results

from foldtune.analysis.agreement import agreement, oracle
from foldtune.analysis.bootstrap import resamples
from foldtune.analysis.confident import confident_sets, overlaps
from foldtune.analysis.decision import decide
from foldtune.analysis.ensemble import Choice, best_k, ensembles
from foldtune.analysis.panel import Member, Panel


def made(methods: int, seeds: int, images: int, classes: int) -> Panel:
    """A panel whose methods share most of their mistakes, and seeds of one method more of them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, images)
    shared = rng.normal(size=(images, classes)).astype(np.float32)
    shared[np.arange(images), labels] += 3
    runs = {}
    for m in range(methods):
        own = 0.5 * rng.normal(size=shared.shape).astype(np.float32)
        runs[f"method{m}"] = [
            Member(
                f"method{m}", s, shared + own + 0.3 * rng.standard_normal(shared.shape, np.float32)
            )
            for s in range(seeds)
        ]
    return Panel(labels, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("methods", 20), ("seeds", 5), ("images", 10_000), ("classes", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--draws", type=int, default=500)
    add_results(parser)
    asked = parser.parse_args()
    lines = Lines("analysis_speed", asked)
    panel = made(asked.methods, asked.seeds, asked.images, asked.classes)
    counts = resamples(asked.images, asked.draws)
    names = panel.names
    whole = Choice("all methods", dict.fromkeys(names, 1), "all")
    jobs = {
        "softmax": lambda: [m.confidence for m in panel.members],
        "agreement": lambda: agreement(panel, counts),
        "oracle": lambda: oracle(panel, counts),
        "confident": lambda: [
            overlaps(confident_sets(panel, 0.5, right)[1], counts) for right in (True, False)
        ],
        "decision": lambda: decide(panel.right),
        "ensembles": lambda: ensembles(panel, [whole, best_k(names, asked.seeds)], names[0]),
    }
    total = 0.0
    for name, job in jobs.items():
        start, busy = time.perf_counter(), time.process_time()
        job()
        spent, used = time.perf_counter() - start, time.process_time() - busy
        total += used
        lines.tell(f"{name}: processor time", used, "s", clock_seconds=spent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sizes = {k: getattr(asked, k) for k in ("methods", "seeds", "images", "classes", "draws")}
    lines.tell("all: processor time", total, "s", peak_bytes=peak, **sizes)


if __name__ == "__main__":
    main()
