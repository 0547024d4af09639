"""A run that raised: the reason in one line, and where it happened."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path

from foldtune.errors import InputError
from foldtune.processes import first
from foldtune.study.results.artefacts import TRACEBACK


def reason_of(error: Exception) -> str:
    """One line: what the user is told, else the kind of error and what it says."""
    said = " ".join(str(error).split())
    if isinstance(error, InputError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def keep_traceback(error: Exception, folder: Path | None) -> None:
    """Leave where it happened in the run's folder, unless the user is to blame."""
    if folder is None or isinstance(error, InputError) or not first():
        return
    with contextlib.suppress(OSError):  # the disk may be what failed
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(traceback.format_exception(error))
        (folder / TRACEBACK).write_text(text, encoding="utf-8")
