"""The command line: verbs only. Each imports what it needs, so that --help needs nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from foldtune.cli import (  # noqa: F401  (importing a verb declares it)
    adapters,
    analysis,
    checks,
    costs,
    data,
    demo,
    lists,
    models,
    protocols,
    robustness,
    studies,
    tunings,
)
from foldtune.cli.app import app
from foldtune.cli.boundary import run_guarded
from foldtune.cli.out import embed, export, hub, predict  # noqa: F401
from foldtune.processes import leave
from foldtune.startup import end_without_collecting, keep_freed_memory


def main() -> None:
    """Run the command line; what goes wrong is one line on standard error and an exit code."""
    keep_freed_memory()
    end_without_collecting()
    try:
        code = run_guarded(_verbs, sys.argv[1:])
    finally:
        leave()
    if code:
        sys.exit(code)


def _verbs(words: Sequence[str]) -> None:
    app(words, exit_on_error=False, print_error=False)
