"""Hostile cases through the command line, in one process, each judged.

A case fails where it ends in anything but success or one line and exit code 2 (a check that finds
damage: 1), where something of a hostile file was executed, where a control character reached the
output, where a refusal left files, and where it took more than `SECONDS`.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _hostile import MARKER

from foldtune.cli import _verbs
from foldtune.cli.boundary import run_guarded

SECONDS = 60
# What a refusal may leave: locks, what was moved out of the way, and the runs that a study had
# finished before.
_KEPT = ("validation.safetensors", "lock", ".flock", ".altered", "rows.corrupt.jsonl")
_CONTROL = {chr(n) for n in (*range(9), *range(11, 32), *range(0x7F, 0xA0))} | {"\u202e"}

# Writes a case's files into an empty folder, and gives the words of the command.
Build = Callable[[Path, random.Random], Sequence[object]]


class Hang(BaseException):
    """A case that took too long; no verb catches it."""


@dataclass
class Tally:
    """What became of the cases of one kind."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0


def run(kind: str, build: Build, cases: int, seed: int, home: Path) -> Tally:
    """Build and judge so many cases. The same seed gives the same cases."""
    tally = Tally()
    signal.signal(signal.SIGALRM, _too_long)
    for number in range(cases):
        folder = home / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        draw = random.Random(f"{kind} {seed} {number}")
        words = [str(word) for word in build(folder, draw)]
        before = _files(folder)
        began = time.perf_counter()
        code, out, err = _called(words, folder)
        seconds = time.perf_counter() - began
        tally.slowest = max(tally.slowest, seconds)
        tally.ends[str(code)] += 1
        why = _fault(code, out, err, _files(folder) - before, home)
        if why:
            fault = {
                "kind": kind,
                "case": number,
                "why": why,
                "words": words,
                "stderr": err[-1500:],
            }
            tally.faults.append(fault)
            print(json.dumps(fault), file=sys.stderr, flush=True)
    shutil.rmtree(home / "case", ignore_errors=True)
    return tally


def _called(words: list[str], folder: Path) -> tuple[int | str, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code: int | str
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        signal.alarm(SECONDS)
        try:
            code = run_guarded(_verbs, words)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        except Hang:
            code = "hang"
        except BaseException as error:
            code = f"{type(error).__name__} out of the boundary"
        finally:
            signal.alarm(0)
    return code, out.getvalue(), err.getvalue()


def _too_long(*_signal: object) -> None:
    raise Hang


def _files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def _fault(code: int | str, out: str, err: str, new: set[str], home: Path) -> str:
    """Why a case fails; empty where it does not."""
    if any(MARKER in (p.name,) for p in home.rglob(MARKER)):
        return "executed"
    if code not in (0, 1, 2):
        return str(code)
    if "Traceback" in err:
        return "traceback"
    if _CONTROL & set(out + err):
        return "a control character was printed"
    if code == 2 and not err.splitlines()[-1:][0].startswith("error: "):
        return "refused without a line"
    if code == 2 and sum(line.startswith("error: ") for line in err.splitlines()) != 1:
        return "refused in several lines"
    left = {name for name in new if not name.endswith(_KEPT)}
    if (code == 2 and left) or any(name.endswith(".part") for name in new):
        return f"left behind: {sorted(left)[:5]}"
    return ""
