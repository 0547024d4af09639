"""What halving finds, against a full grid: accuracy lost and epochs saved, a JSON line a task.

    python benchmarks/halving.py --out halving-study --workers 2

The aim: within 0.5 points of the grid's best validation accuracy, with a third of its epochs at
most. Both figures are of runs of all epochs on the same, whole validation split, of which one image
is `points_an_image`; `by_chance` is what the best of as many configurations as the last rung has,
drawn blindly, loses on average to the grid's best: halving must do better. `loses`: what each rule
of promotion loses on the first rung alone. Killed and called again it goes on: every row is kept
under --out.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from _lines import Lines, add_results

import foldtune  # noqa: F401  (declares torchvision's operators)
from foldtune.analysis.leaderboard import chosen_trial
from foldtune.analysis.selection import configurations, rank_trials, spent_epochs
from foldtune.backbones import load_backbone
from foldtune.data import ImageData, load_data
from foldtune.data.identity import split_hash
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import Ledger, MakeExecutor
from foldtune.study.executors import choose
from foldtune.study.results.store import Store
from foldtune.study.search.halving import Halving
from foldtune.study.search.plan import Plan
from foldtune.study.search.searches import promote, search_for
from foldtune.study.search.spaces import Entrant
from foldtune.study.terms.settings import default_recipe

LOSS, SHARE = 0.5, 1 / 3  # points of accuracy; of the grid's epochs


def main() -> None:
    asked = _arguments()
    backbone = load_backbone(asked.model, size=asked.size)
    lines = Lines("halving", asked)
    with choose(workers=asked.workers, threads=asked.threads) as executor:
        for task in asked.data:
            data = load_data(task, size=backbone.transform.size)
            bench = Bench(backbone, _few(data, asked.shots) if asked.shots else data)
            for method in asked.methods:
                found = _both(bench, executor, Entrant.parse(method), asked, _folder(task))
                name, facts = f"{method} on {_folder(task)}", {"epochs": asked.epochs}
                lost, share = found["points_lost"], found["share_of_epochs"]
                lines.tell(f"{name}: accuracy lost", lost, "points", f"<= {LOSS}", **facts, **found)
                lines.tell(f"{name}: share of the epochs", share, "", f"<= {SHARE:.4f}", **facts)


def _few(data: ImageData, shots: int) -> ImageData:
    """So many training images a class, and all of validation."""
    few = data.few_shot(shots)
    splits = {**few.splits, "val": data.splits["val"]}
    counts = {name: len(rows) for name, rows in splits.items()}
    facts = {**few.facts, "counts": counts, "split_hash": split_hash(splits)}
    return replace(few, splits=splits, facts=facts)


def _both(
    bench: Bench, executor: MakeExecutor, entrant: Entrant, asked: Any, folder: str
) -> dict[str, Any]:
    halving = Halving(asked.rungs, asked.factor)
    with Store(asked.out / folder) as store:
        ledger = Ledger(store, executor(bench, store.folder), lambda _line: None)
        grid = _search(bench, ledger, entrant, Plan("grid"), asked)
        halved = _search(bench, ledger, entrant, Plan("grid", halving=halving), asked)
    lost = 100 * (grid["val_accuracy"] - halved["val_accuracy"])
    share = halved["epochs"] / grid["epochs"]
    full, rung = grid.pop("last"), halved.pop("first")
    halved.pop("last"), grid.pop("first")
    return {
        "train_images": len(bench.data.split("train")),
        "points_an_image": round(100 / len(bench.data.split("val")), 2),
        "grid": grid, "halving": halved, "points_lost": round(lost, 2),
        "share_of_epochs": round(share, 3), "reached": lost <= LOSS and share <= SHARE + 1e-9,
        **_judged(full, rung, halving.counts(len(full))),
    }  # fmt: skip


def _judged(full: list[Any], rung: list[Any], kept: Sequence[int]) -> dict[str, Any]:
    """Points that chance loses, and each rule of promotion on the first rung alone.

    full, rung: rows of all configurations in the same order, with all epochs and on that rung;
    kept: configurations on each rung.
    """
    values = [100 * (row.get("val_accuracy") or 0.0) for row in full]
    best = sorted(values, reverse=True)
    last, total = kept[-1], math.comb(len(best), kept[-1])
    # The best of those drawn is the i-th of all where it is drawn and none before it is.
    mean = sum(
        math.comb(len(best) - i - 1, last - 1) * value for i, value in enumerate(best)
    ) / total  # fmt: skip
    rules = {"spread": promote(rung, True), "accuracy": rank_trials(rung, "loss")}
    rules["loss"] = sorted(rules["accuracy"], key=lambda i: rung[i]["val_loss"])
    loses = {
        name: best[0] - max(values[i] for i in order[: kept[1]]) for name, order in rules.items()
    }
    return {
        "by_chance": round(best[0] - mean, 2),
        "loses": {name: round(value, 2) for name, value in loses.items()},
    }


def _search(
    bench: Bench, ledger: Ledger, entrant: Entrant, plan: Plan, asked: Any
) -> dict[str, Any]:
    started = time.perf_counter()
    base = replace(default_recipe(asked.epochs), batch_size=asked.batch_size)
    search = search_for(entrant, base, plan)
    rungs: list[list[Any]] = []
    while trials := search.ask():
        rungs.append(ledger.rows([
            bench.describe(t.stage, t.method, t.recipe, 0, label=t.stage, head=asked.head)
            for t in trials
        ]))  # fmt: skip
        search.tell(rungs[-1])
    best = chosen_trial(rungs[-1])
    if best is None:
        raise SystemExit("every run of the last rung diverged")
    rows = [row for rung in rungs for row in rung]
    return {
        "configurations": configurations(rows),
        "epochs": spent_epochs(rows),
        "val_accuracy": best["val_accuracy"],
        "method_chosen": best["method"],
        "lr": best["recipe"]["lr"],
        "weight_decay": best["recipe"]["weight_decay"],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "seconds_now": round(time.perf_counter() - started, 1),
        "first": rungs[0],
        "last": rungs[-1],
    }  # fmt: skip


def _folder(task: str) -> str:
    return Path(task).stem if Path(task).exists() else task.replace("/", "-")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["digits", "shapes/count"])
    parser.add_argument("--methods", nargs="+", default=["LoRA"])
    parser.add_argument("--model", default="micro")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--shots", type=int, default=0, help="training images a class; 0 for all")
    parser.add_argument("--epochs", type=int, default=18, help="of the grid and of the last rung")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--head", default="regularised")
    parser.add_argument("--rungs", type=int, default=3)
    parser.add_argument("--factor", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    add_results(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
