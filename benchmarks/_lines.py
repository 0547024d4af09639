"""One form for every figure of a benchmark: a JSON line with its value, aim, device and versions.

`add_results(parser)` gives a benchmark the option --results, `Lines` prints and keeps. The page
docs/performance.md is made of what is kept (performance_page.py).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import foldtune

RESULTS = Path(__file__).with_name("results")
_LIBRARIES = ("torch", "timm", "peft", "ray")


def add_results(parser: argparse.ArgumentParser) -> None:
    """The option that every benchmark has."""
    parser.add_argument(
        "--results", type=Path, nargs="?", const=RESULTS, default=None, metavar="FOLDER",
        help="append the lines to FOLDER/BENCHMARK.jsonl (without FOLDER: benchmarks/results)",
    )  # fmt: skip


class Lines:
    """Prints the figures of one benchmark, and appends them to its file where one is asked for."""

    def __init__(
        self, benchmark: str, asked: argparse.Namespace | None = None, device: str = "cpu"
    ) -> None:
        folder = getattr(asked, "results", None)
        self.path = None if folder is None else Path(folder) / f"{benchmark}.jsonl"
        self._common = {"benchmark": benchmark}
        self._where = {
            "device": _device(device),
            "threads": torch.get_num_threads(),
            "cores": len(os.sched_getaffinity(0)),
            # Of the minute before: what else the machine had to do.
            "load_before": round(os.getloadavg()[0], 1),
            "versions": _versions(),
            "command": _command(),
        }

    def tell(
        self, figure: str, value: Any, unit: str = "", aim: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """Print one figure; `more` is kept beside it. aim: see `met`."""
        line = {
            **self._common, "figure": figure, "value": _short(value), "unit": unit, "aim": aim,
            "met": met(value, aim), **{k: _short(v) for k, v in more.items()}, **self._where,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return line


def met(value: Any, aim: str | None) -> bool | None:
    """Whether the value is within an aim such as `<= 1.2`, `>= 0.9`, `= 0` or `0.98 to 1.02`."""
    if aim is None or value is None:
        return None
    if " to " in aim:
        low, high = map(float, aim.split(" to "))
        return low <= value <= high
    sign, bound = aim.split()
    return {"<=": value <= float(bound), ">=": value >= float(bound), "=": value == float(bound)}[
        sign
    ]


def _short(value: Any) -> Any:
    """Floats to four significant digits, which is more than any clock here gives."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _device(name: str) -> str:
    if name.startswith("cuda"):
        return f"cuda: {torch.cuda.get_device_name(name)}"
    for line in _lines_of("/proc/cpuinfo"):
        if line.startswith("model name"):
            return f"cpu: {line.partition(':')[2].strip()}"
    return f"cpu: {platform.processor() or platform.machine()}"


def _lines_of(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def _versions() -> dict[str, str]:
    found = {"foldtune": foldtune.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _command() -> str:
    """The call, without --results, which changes no figure, and with names in place of paths."""
    kept, words = [], iter(Path(w).name if w.startswith("/") else w for w in sys.argv[1:])
    for word in words:
        if word == "--results":
            following = next(words, None)
            kept += [following] if following and following.startswith("-") else []
        elif not word.startswith("--results="):
            kept.append(word)
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *kept])
