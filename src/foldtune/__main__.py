"""The entry point: answers `foldtune --help` from a kept text and leaves the rest to the verbs.

Building the command line takes 0.2 to 0.35 s (cyclopts 5.4 and rich 15, two cores); the overview
needs none of it. `help.txt` is what `foldtune.cli` itself prints; a test compares them.
"""

from __future__ import annotations

import sys
from pathlib import Path

HELP = Path(__file__).with_name("help.txt")


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        sys.stdout.write(HELP.read_text(encoding="utf-8"))
        return
    from foldtune.cli import main as verbs

    verbs()


if __name__ == "__main__":
    main()
