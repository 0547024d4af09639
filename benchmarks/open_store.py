"""How long a study of many rows takes to open and to append to, with a curve in every row.

    python benchmarks/open_store.py [--rows 100000] [--epochs 20]

Prints a JSON line a figure: seconds (processor and clock) to open the rows for reading
(every checksum is looked at), to claim the folder, and to add one row.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _lines import Lines, add_results

from foldtune.study.results.rowfile import encode, line_of
from foldtune.study.results.store import Store


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--epochs", type=int, default=20)
    add_results(options)
    asked = options.parse_args()
    lines = Lines("open_store", asked)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "rows.jsonl").open("wb") as file:
            for number in range(asked.rows):
                file.write(line_of(encode(_row(number, asked.epochs))))
        store = Store(folder)
        facts = {"epochs": asked.epochs, "megabytes": (folder / "rows.jsonl").stat().st_size / 1e6}
        jobs = {
            "open": lambda: Store(folder),
            "claim": store.claim,
            "add a row": lambda: store.add(_row(asked.rows, asked.epochs)),
        }
        for name, job in jobs.items():
            clock, processor = _timed(job)
            figure = f"{name}, {asked.rows} rows: processor time"
            lines.tell(figure, processor, "s", clock_seconds=clock, **facts)
        store.close()


def _row(number: int, epochs: int) -> dict[str, Any]:
    point = {"loss": 0.6931471805599453, "lr": 0.0009045084971874737, "seconds": 1.2345678901234}
    point |= {"images_per_second": 1234.567890123456, "val_accuracy": 0.8123456789012345}
    curve = [{"epoch": epoch, **point} for epoch in range(1, epochs + 1)]
    return {"run": f"{number:016x}", "stage": "trial", "label": "LoRA", "seed": 0, "curve": curve}


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


if __name__ == "__main__":
    main()
