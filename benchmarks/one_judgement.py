"""Whether anything that is said of a study contradicts anything else, over random made-up studies.

    OMP_NUM_THREADS=1 python benchmarks/one_judgement.py --studies 200

Each study (2 to 8 methods, 1 to 4 seeds, 20 to 400 test images, some with near duplicates) is
written to a folder, its page is made and read back from the HTML: headline, sentences, badges and
tables are compared with each other, with the leaderboard that `compare --json` prints, and with
what `analyse --json` does. Prints each contradiction, and one JSON line with their number.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from _lines import Lines, add_results

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/report"))

import random_studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    add_results(parser)
    asked = parser.parse_args()
    lines = Lines("one_judgement", asked)
    wrong = []
    for seed in range(asked.first, asked.first + asked.studies):
        with tempfile.TemporaryDirectory() as scratch:
            folder = random_studies.write_random(Path(scratch) / f"study{seed}", seed)
            found = random_studies.contradictions(folder)
        print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
        wrong += found
    lines.tell("contradictions", len(wrong), "", "= 0", studies=asked.studies)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
