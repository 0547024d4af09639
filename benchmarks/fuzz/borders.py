"""Files and texts of strangers through the command line: none may do more than be refused.

    python benchmarks/fuzz/borders.py [--cases 5000] [--seed N] [--only tuning peft ...]

Kinds: tuning, weights, peft, study, ensemble, method, name. Every case is seeded by kind, seed and
number, and a fault prints all three. Prints one JSON line a kind, how its cases ended (0, or 2 for
refused), and one of what may not be: faults. Exits with 1 where there is one.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _lines import Lines, add_results
from _memory import peak
from _run import run
from studies import ensemble, folder_of_a_study
from tensors import peft, tuning, weights
from texts import method, name

# Of all cases how many are of a kind.
KINDS = {
    "tuning": (tuning, 0.3), "weights": (weights, 0.1), "peft": (peft, 0.15),
    "study": (folder_of_a_study, 0.2), "ensemble": (ensemble, 0.05), "method": (method, 0.15),
    "name": (name, 0.05),
}  # fmt: skip
LIMIT = 1024  # MiB


def main() -> None:
    """Run the cases and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--cases", type=int, default=5000)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--only", nargs="*", choices=sorted(KINDS), default=sorted(KINDS))
    add_results(options)
    asked = options.parse_args()
    seed = secrets.randbelow(10**9) if asked.seed is None else asked.seed
    lines, faults = Lines("fuzz_borders", asked), 0
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        for kind in asked.only:
            build, share = KINDS[kind]
            home = Path(place)
            found = run(kind, partial(build, home), round(share * asked.cases), seed, home)
            faults += len(found.faults)
            lines.tell(
                f"{kind}: faults", len(found.faults), "cases", "= 0", seed=seed,
                cases=found.ends.total(), ends=dict(found.ends), slowest=round(found.slowest, 1),
            )  # fmt: skip
    lines.tell("peak memory", peak(), "MiB", f"<= {LIMIT}", seed=seed)
    sys.exit(1 if faults or peak() > LIMIT else 0)


if __name__ == "__main__":
    main()
