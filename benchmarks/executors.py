"""What executing runs elsewhere gives, and what the engine costs.

    python benchmarks/executors.py [--runs 16] [--epochs 8] [--shots 16] [--short 50] [--only PART]

Prints one JSON line a part, in this order:
- processes, ray: the same runs in this process, by one worker and by two, each with one thread.
  equal: all rows (but for times), tunings and logits bit for bit; ratio: seconds of two workers
  over those of one, both started and warm.
- killed: a Ray worker killed by SIGKILL in the middle of its run; equal as before.
- overhead: short runs through bench and store (checkpoints, tuning files, logits, rows on disk)
  over the same training written by hand: attach, AdamW, validation each epoch, test. Measured in
  pairs, in turn; ratio of the sums.
The exit code is 1 where rows differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.methods import parse
from foldtune.study.bench import CHECKPOINT, Bench, prepare_for
from foldtune.study.execute import InProcess, Ledger, MakeExecutor, Row
from foldtune.study.executors import chosen
from foldtune.study.run import Run
from foldtune.study.store import Store
from foldtune.training.batches import epoch_batches
from foldtune.training.optim import trainable
from foldtune.training.recipe import Recipe

METHODS = ("BitFit", "SSF", "LoRA(rank=4)", "LayerNorm")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=16)
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--shots", type=int, default=16)
    options.add_argument("--short", type=int, default=50)
    options.add_argument("--only", choices=("processes", "ray", "killed", "overhead"))
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
        line = {"benchmark": "executors", "part": part, **measure(bench, root / part, part, asked)}
        print(json.dumps(line), flush=True)
        yield line


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
    told: dict[str, Any] = {"runs": len(runs), "seconds_here": time.perf_counter() - started}
    equal = True
    for workers in (1, 2):
        folder = root / f"with{workers}"
        with chosen(part, workers=workers, threads=1) as executor:
            found, seconds, start = _timed(executor, bench, folder, runs, workers)
        told |= {f"seconds_{workers}": seconds, f"start_seconds_{workers}": start}
        equal &= found == wanted
    told["ratio"] = told["seconds_2"] / told["seconds_1"]
    return _rounded(told) | {"equal": equal}


def _timed(
    executor: MakeExecutor, bench: Bench, folder: Path, runs: Sequence[Run], workers: int
) -> tuple[dict[str, Any], float, float]:
    """Rows and files, seconds of the runs, and seconds of the start with one short run a worker."""
    started = time.perf_counter()
    execute = executor(bench, folder)
    list(execute(_runs(bench, workers, 1, first=1000)))
    warm = time.perf_counter()
    rows = list(execute(runs))
    done = time.perf_counter()
    return _result(rows, folder), done - warm, warm - started


def _killed(bench: Bench, root: Path, part: str, asked: argparse.Namespace) -> dict[str, Any]:
    runs = _runs(bench, 4, max(asked.epochs, 3), first=2000)
    wanted = _result(InProcess(bench, root / "here")(runs), root / "here")
    with chosen("ray", workers=2, threads=1) as executor:
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
    runs = _runs(bench, asked.short, 4, "fit", first=3000)
    spent = {"bare": 0.0, "engine": 0.0, "bare_processor": 0.0, "engine_processor": 0.0}
    far = 0.0
    _bare(bench, runs[0])  # what is imported and measured once is neither's
    with Store(root) as store:
        ledger = Ledger(store, InProcess(bench, root), lambda _line: None)
        for run in runs:
            accuracy = _paid(spent, "bare", lambda run=run: _bare(bench, run))  # type: ignore
            row = _paid(spent, "engine", lambda run=run: ledger.rows([run])[0])  # type: ignore
            far = max(far, abs(accuracy - row["test_accuracy"]))
    ratio = spent["engine"] / spent["bare"]
    processor = spent["engine_processor"] / spent["bare_processor"]
    told = {"runs": len(runs), "seconds_a_run": spent["bare"] / len(runs), "ratio": ratio}
    # Not bit for bit: the schedule by hand has no warm-up.
    told |= {"processor_ratio": processor, "largest_accuracy_difference": far}
    return _rounded(told)


def _paid(spent: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    clock, processor = time.perf_counter(), time.process_time()
    found = call()
    spent[name] += time.perf_counter() - clock
    spent[f"{name}_processor"] += time.process_time() - processor
    return found


def _bare(bench: Bench, run: Run) -> float:
    """The run as one would write it for this one case; the test accuracy."""
    recipe, data = run.recipe, bench.data
    attachment = bench.attach(parse(run.method), run)
    model, prepare = attachment.model, prepare_for(bench.backbone)
    weights = list(trainable(model).values())
    optimizer = torch.optim.AdamW(weights, recipe.lr, weight_decay=recipe.weight_decay)
    labels = torch.from_numpy(data.labels)
    indices = data.split(*run.train_on)
    steps = max(1, -(-len(indices) // recipe.batch_size)) * recipe.epochs
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, recipe.min_lr)

    def accuracy(split: str) -> float:
        rows, right = data.split(split), 0
        model.eval()
        with torch.no_grad():
            for start in range(0, len(rows), 256):
                some = rows[start : start + 256]
                found = model(prepare(torch.from_numpy(data.pixels[some]), None)).argmax(1)
                right += int((found == labels[some]).sum())
        return right / len(rows)

    for epoch in range(1, recipe.epochs + 1):
        model.train()
        for rows in epoch_batches(indices, recipe, run.seed, epoch):
            images = prepare(torch.from_numpy(data.pixels[rows]), None)
            loss = F.cross_entropy(model(images), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        accuracy("val")
    found = accuracy("test")
    attachment.detach()
    return found


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
