"""What halving finds, against a full grid: accuracy lost and epochs saved, a JSON line a task.

    python benchmarks/halving.py --out halving-study

The aim: within 0.5 points of the grid's best validation accuracy, with a third of its epochs at
most. Killed and called again it goes on: every run's row is kept under --out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import foldtune  # noqa: F401  (declares torchvision's operators)
from foldtune.analysis.ranking import chosen_trial
from foldtune.analysis.selection import configurations, spent_epochs
from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.study.bench import Bench
from foldtune.study.execute import InProcess, Ledger
from foldtune.study.halving import Halving
from foldtune.study.search import Entrant
from foldtune.study.searches import Plan, search_for
from foldtune.study.settings import default_recipe
from foldtune.study.store import Store

LOSS, SHARE = 0.5, 1 / 3  # points of accuracy; of the grid's epochs


def main() -> None:
    asked = _arguments()
    backbone = load_backbone(asked.model, size=asked.size)
    for task in asked.data:
        data = load_data(task, size=backbone.transform.size)
        bench = Bench(backbone, data if not asked.shots else data.few_shot(asked.shots))
        for method in asked.methods:
            with Store(asked.out / _folder(task)) as store:
                ledger = Ledger(store, InProcess(bench, store.folder), lambda _line: None)
                found = _both(bench, ledger, Entrant.named(method), asked)
            print(json.dumps({"task": task, "method": method, **found}), flush=True)


def _both(bench: Bench, ledger: Ledger, entrant: Entrant, asked: Any) -> dict[str, Any]:
    halving = Halving(asked.rungs, asked.factor)
    grid = _search(bench, ledger, entrant, Plan("grid"), asked.epochs)
    halved = _search(bench, ledger, entrant, Plan("grid", halving=halving), asked.epochs)
    lost = 100 * (grid["val_accuracy"] - halved["val_accuracy"])
    share = halved["epochs"] / grid["epochs"]
    return {
        "grid": grid, "halving": halved, "points_lost": round(lost, 2),
        "share_of_epochs": round(share, 3), "reached": lost <= LOSS and share <= SHARE,
    }  # fmt: skip


def _search(
    bench: Bench, ledger: Ledger, entrant: Entrant, plan: Plan, epochs: int
) -> dict[str, Any]:
    started = time.perf_counter()
    search = search_for(entrant, default_recipe(epochs), plan)
    rows, last = [], []
    while trials := search.ask():
        last = ledger.rows([
            bench.describe(t.stage, t.method, t.recipe, 0, label=t.stage, head="probe")
            for t in trials
        ])  # fmt: skip
        search.tell(last)
        rows += last
    chosen = chosen_trial(last)
    if chosen is None:
        raise SystemExit("every run of the last rung diverged")
    return {
        "configurations": configurations(rows),
        "epochs": spent_epochs(rows),
        "val_accuracy": chosen["val_accuracy"],
        "method_chosen": chosen["method"],
        "lr": chosen["recipe"]["lr"],
        "weight_decay": chosen["recipe"]["weight_decay"],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "seconds_now": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def _folder(task: str) -> str:
    return Path(task).stem if Path(task).exists() else task.replace("/", "-")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["digits", "shapes/count"])
    parser.add_argument("--methods", nargs="+", default=["LoRA"])
    parser.add_argument("--model", default="micro")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--shots", type=int, default=32, help="images a class; 0 for all")
    parser.add_argument("--epochs", type=int, default=12, help="of the grid and of the last rung")
    parser.add_argument("--rungs", type=int, default=2)
    parser.add_argument("--factor", type=int, default=6)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
