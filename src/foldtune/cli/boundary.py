"""The one boundary of the command line: whatever goes wrong becomes one line and an exit code.

2: what was given is refused, or a file cannot be read or written; 130: interrupted; 141: who read
the output has gone; 1: a mistake of foldtune's own, with its traceback and what to do about it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence

from foldtune import __version__
from foldtune.console import say
from foldtune.errors import InputError

REFUSED, INTERRUPTED, NOBODY_READS, BROKEN = 2, 130, 141, 1
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_SYSTEM = (*_NO_ROOM, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EFBIG)


def run_guarded(verbs: Callable[[Sequence[str]], object], words: Sequence[str]) -> int:
    """Run the verbs on the words of a command; the exit code."""
    from cyclopts import CycloptsError

    try:
        with _warnings_in_lines():
            verbs(words)
        sys.stdout.flush()  # else a reader that has gone shows when Python ends, as a traceback
    except InputError as error:
        return _refuse(str(error))
    except CycloptsError as error:
        if isinstance(error.__cause__, InputError):  # a check of an option, see places.py
            return _refuse(str(error.__cause__))
        return _refuse(f"{error} (foldtune {' '.join(words[:1])} --help)")
    except KeyboardInterrupt:
        say(f"stopped; what is finished is kept; to go on: {shlex.join(['foldtune', *words])}")
        return INTERRUPTED
    except BrokenPipeError:
        _close_output()
        return NOBODY_READS
    except OSError as error:
        line = _line_of(error)
        return _report_bug() if line is None else _refuse(line)
    except Exception as error:
        return _refuse(_NO_MEMORY) if _is_memory(error) else _report_bug()
    return 0


@contextlib.contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """Warnings of the library, and what it logs, are said like all else, in escaped lines."""
    last = logging.lastResort
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_where, **_more: say(f"warning: {message}")
        logging.lastResort = _Said(logging.WARNING)
        try:
            yield
        finally:
            logging.lastResort = last


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


_NO_MEMORY = (
    "out of memory; smaller images (--size), batches (--batch-size) or fewer --workers need less"
)


def _refuse(line: str) -> int:
    say(f"error: {' '.join(line.split())}")
    return REFUSED


def _line_of(error: OSError) -> str | None:
    """What the system refused, and of which file; None for what no file or disk explains."""
    if error.filename is None and error.errno not in _OF_THE_SYSTEM:
        return None
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    if error.errno in _NO_ROOM:
        return f"{where}no space left on the device; free some and call again"
    return f"{where}{(error.strerror or str(error)).lower()}"


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out, as Python, torch on a device and torch on a CPU say it."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _report_bug() -> int:
    traceback.print_exc()
    python = ".".join(map(str, sys.version_info[:3]))
    say(
        "error: this is a mistake of foldtune, not yours: please report these lines and the "
        f"command, see SECURITY.md (foldtune {__version__}, Python {python}, {sys.platform})"
    )
    return BROKEN


def _close_output() -> None:
    """Send what is still to be written nowhere: flushing it at the end would raise again."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):  # an output that is no file of the system's
        pass
