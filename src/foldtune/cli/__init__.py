"""The command line: verbs only. Each imports what it needs, so that --help needs nothing."""

from __future__ import annotations

import errno
import shlex
import sys

from foldtune.cli import (  # noqa: F401  (importing a verb declares it)
    adapters,
    analysis,
    checks,
    costs,
    data,
    models,
    protocols,
    robustness,
    studies,
    tunings,
)
from foldtune.cli.app import app
from foldtune.console import say
from foldtune.errors import InputError
from foldtune.processes import leave
from foldtune.startup import end_without_collecting, keep_freed_memory


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    from cyclopts import CycloptsError

    keep_freed_memory()
    end_without_collecting()
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except InputError as error:
        say(f"error: {error}")
        sys.exit(2)
    except CycloptsError as error:
        line = " ".join(str(error).split())
        say(f"error: {line} (foldtune {' '.join(sys.argv[1:2])} --help)")
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        say(f"error: no space left on the device ({error.filename}); free some and call again")
        sys.exit(2)
    except KeyboardInterrupt:
        again = shlex.join(["foldtune", *sys.argv[1:]])
        say(f"stopped; what is finished is kept; to go on: {again}")
        sys.exit(130)
    finally:
        leave()
