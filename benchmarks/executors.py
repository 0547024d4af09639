"""What executing runs elsewhere gives, and what the engine costs.

    python benchmarks/executors.py [--only PART] [--runs 20] [--epochs 8] [--shots 16] [--short 50]

Prints one JSON line a part, in this order:
- processes, ray: the same runs in this process, by one worker and by two, each with one thread.
  equal: all rows (but for times), tunings and logits bit for bit; ratio: seconds of two workers
  over those of one, both started and warm, without the starts, which are told beside it
  (start_seconds: from nothing until every worker has done a short run). possible: the same ratio
  of plain loops in two processes and in one, measured in between: what this machine allows today.
  waited: share of the two workers' time that was in no run.
- killed: a Ray worker killed by SIGKILL in the middle of its run; equal as before.
- overhead: short runs through bench and store (tuning files, logits, rows on disk) over the same
  training written by hand: attach, AdamW, warm-up and cosine, validation each epoch, test; nothing
  is written. In pairs, in turn, the first of each pair alternating; ratio of the sums. Both give
  the same test logits bit for bit (equal). ratio_to_loops: the same without the time that `attach`
  takes by hand, as if the method had been part of the model.
The exit code is 1 where results differ.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from _lines import Lines, add_results
from bare_loop import bare, paid

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.methods import parse
from foldtune.study.bench.bench import CHECKPOINT, Bench
from foldtune.study.bench.execute import InProcess, Ledger, MakeExecutor, Row
from foldtune.study.bench.run import Run
from foldtune.study.executors import choose
from foldtune.study.results.artefacts import LOGITS
from foldtune.study.results.logits import read_logits
from foldtune.study.results.store import Store
from foldtune.training.recipe import Recipe

METHODS = ("BitFit", "SSF", "LoRA(rank=4)", "LayerNorm")
AIMS = {"processes": "<= 0.6", "ray": "<= 0.6", "overhead": "<= 1.05"}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--shots", type=int, default=16)
    options.add_argument("--short", type=int, default=50)
    options.add_argument("--only", choices=("processes", "ray", "killed", "overhead"))
    add_results(options)
    asked = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        data = load_data("digits", size=32, cache=Path(name) / "cache").few_shot(asked.shots)
        bench = Bench(load_backbone("micro", size=32), data)
        equal = [line.get("equal", True) for line in _parts(bench, Path(name), asked)]
    sys.exit(not all(equal))


def _parts(bench: Bench, root: Path, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for part in ("processes", "ray", "killed", "overhead"):
        if asked.only not in (None, part):
            continue
        measure = {"killed": _killed, "overhead": _overhead}.get(part, _workers)
        found = measure(bench, root / part, part, asked)
        lines = Lines("executors", asked)
        if "ratio" in found:
            lines.tell(f"{part}: ratio", found["ratio"], "", AIMS[part], **found)
        lines.tell(f"{part}: rows that differ", float(not found["equal"]), "", "= 0")
        yield found


def _runs(bench: Bench, count: int, epochs: int, stage: str = "final", first: int = 0) -> list[Run]:
    recipe = Recipe(epochs=epochs, warmup_epochs=0.1 * epochs, batch_size=32, lr=3e-3)
    return [
        bench.describe(stage, parse(METHODS[i % len(METHODS)]), recipe, first + i, head="zero")
        for i in range(count)
    ]


def _workers(bench: Bench, root: Path, part: str, asked: argparse.Namespace) -> dict[str, Any]:
    runs = _runs(bench, asked.runs, asked.epochs)
    started = time.perf_counter()
    wanted = _result(InProcess(bench, root / "here")(runs), root / "here")
    here = time.perf_counter() - started
    told: dict[str, Any] = {"runs": len(runs), "seconds_here": here}
    equal = True
    for workers in (1, 2):
        folder = root / f"with{workers}"
        with choose(part, workers=workers, threads=1) as executor:
            rows, seconds, start = _timed(executor, bench, folder, runs, workers)
        told |= {f"seconds_{workers}": seconds, f"start_seconds_{workers}": start}
        equal &= _result(rows, folder) == wanted
        told["waited"] = 1 - sum(row["seconds"] for row in rows) / (workers * seconds)
    told["ratio"] = told["seconds_2"] / told["seconds_1"]
    told["possible"] = _forked(bench, root, runs) / here
    return _rounded(told) | {"equal": equal}


def _forked(bench: Bench, root: Path, runs: Sequence[Run]) -> float:
    """Seconds that two forked processes take, each with every second run and nobody to wait for."""
    started = time.perf_counter()
    children = []
    for half in (0, 1):
        child = os.fork()
        if not child:
            list(InProcess(bench, root / f"fork{half}")(runs[half::2]))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return time.perf_counter() - started


def _timed(
    executor: MakeExecutor, bench: Bench, folder: Path, runs: Sequence[Run], workers: int
) -> tuple[list[Row], float, float]:
    """The rows, seconds of the runs, and seconds of the start with one short run a worker."""
    started = time.perf_counter()
    execute = executor(bench, folder)
    list(execute(_runs(bench, workers, 1, first=1000)))
    warm = time.perf_counter()
    rows = list(execute(runs))
    return rows, time.perf_counter() - warm, warm - started


def _killed(bench: Bench, root: Path, part: str, asked: argparse.Namespace) -> dict[str, Any]:
    bench.checkpoint_seconds = 0.0  # the kill waits for one
    runs = _runs(bench, 4, max(asked.epochs, 3), first=2000)
    wanted = _result(InProcess(bench, root / "here")(runs), root / "here")
    with choose("ray", workers=2, threads=1) as executor:
        found, pid = _kill_one(executor, bench, root / "there", runs)
    return {"runs": len(runs), "killed_process": pid is not None, "equal": found == wanted}


def _kill_one(
    executor: AbstractContextManager | MakeExecutor, bench: Bench, folder: Path, runs: Sequence[Run]
) -> tuple[dict[str, Any], int | None]:
    execute: Any = executor(bench, folder)  # type: ignore[operator]
    list(execute(_runs(bench, 2, 1, first=1000)))
    ask = [actor.__ray_call__.remote(lambda _self: os.getpid()) for actor in execute.idle]
    processes: list[int] = execute.ray.get(ask)
    killed: list[int] = []

    def kill() -> None:
        while not list(folder.glob(f"runs/*/{CHECKPOINT}")):
            time.sleep(0.005)
        os.kill(processes[0], signal.SIGKILL)
        killed.append(processes[0])

    killer = threading.Thread(target=kill)
    killer.start()
    rows = list(execute(runs))
    killer.join()
    return _result(rows, folder), killed[0] if killed else None


def _overhead(bench: Bench, root: Path, part: str, asked: argparse.Namespace) -> dict[str, Any]:
    runs = _runs(bench, asked.short, asked.epochs, "fit", first=3000)
    bench.checkpoint_seconds = Bench.checkpoint_seconds
    spent: dict[str, float] = {}
    bare(bench, runs[0], {})  # what is imported and measured once is neither's
    equal = True
    with Store(root) as store:
        ledger = Ledger(store, InProcess(bench, root), lambda _line: None)
        for number, run in enumerate(runs):
            calls = [
                ("bare", lambda run=run: bare(bench, run, spent)),
                ("engine", lambda run=run: ledger.rows([run])),
            ]
            done = {name: paid(spent, name, call) for name, call in calls[:: 1 - 2 * (number % 2)]}
            kept = read_logits(root / "runs" / run.key / LOGITS)
            equal &= torch.equal(done["bare"], torch.from_numpy(kept.logits))
    told = {"runs": len(runs), "seconds_a_run": spent["bare"] / len(runs)}
    for clock in ("", "_processor"):
        by_hand, engine = spent[f"bare{clock}"], spent[f"engine{clock}"]
        told[f"ratio{clock}"] = engine / by_hand
        told[f"ratio_to_loops{clock}"] = engine / (by_hand - spent[f"attach{clock}"])
    return _rounded(told) | {"equal": equal}


def _result(rows: Sequence[Row] | Iterator[Row], folder: Path) -> dict[str, Any]:
    """Rows without times, and the hashes of their files."""
    found: dict[str, Any] = {}
    for row in rows:
        files = sorted((folder / "runs" / row["run"]).glob("*.safetensors"))
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        found[row["run"]] = (_timeless(row), hashes)
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        timed = ("seconds", "images_per_second")
        return {k: _timeless(v) for k, v in value.items() if k not in timed}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _rounded(told: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in told.items()}


if __name__ == "__main__":
    main()
