"""How long a study of many rows takes to open and to append to, with a curve in every row.

    python benchmarks/open_store.py [--rows 100000] [--epochs 20]

Prints one JSON line: seconds on the clock and of the processor to open the rows for reading
(every checksum is looked at), to claim the folder, and to add one row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foldtune.study.rowfile import encode, line_of
from foldtune.study.store import Store


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--epochs", type=int, default=20)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "rows.jsonl").open("wb") as file:
            for number in range(asked.rows):
                file.write(line_of(encode(_row(number, asked.epochs))))
        store = Store(folder)
        line = {
            "benchmark": "open_store",
            "rows": asked.rows,
            "epochs": asked.epochs,
            "megabytes": round((folder / "rows.jsonl").stat().st_size / 1e6, 1),
            **_timed("open", lambda: Store(folder)),
            **_timed("claim", store.claim),
            **_timed("add", lambda: store.add(_row(asked.rows, asked.epochs))),
        }
        store.close()
    print(json.dumps(line))


def _row(number: int, epochs: int) -> dict[str, Any]:
    point = {"loss": 0.6931471805599453, "lr": 0.0009045084971874737, "seconds": 1.2345678901234}
    point |= {"images_per_second": 1234.567890123456, "val_accuracy": 0.8123456789012345}
    curve = [{"epoch": epoch, **point} for epoch in range(1, epochs + 1)]
    return {"run": f"{number:016x}", "stage": "trial", "label": "LoRA", "seed": 0, "curve": curve}


def _timed(name: str, call: Callable[[], object]) -> dict[str, float]:
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return {
        f"{name}_seconds": round(time.perf_counter() - clock, 3),
        f"{name}_processor_seconds": round(time.process_time() - processor, 3),
    }


if __name__ == "__main__":
    main()
