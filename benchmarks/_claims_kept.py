"""What is kept of a finished study: one line with all that the claims are judged by.

A study is a folder of megabytes that lies where it was run; its line, of some kilobytes, is
committed beside the other results, so that every figure can be made again from lines alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foldtune.analysis.leaderboard import leaderboard
from foldtune.errors import InputError
from foldtune.study.results.analyses import analyse
from foldtune.study.results.store import Store
from foldtune.study.search.spaces import TRIALS, Entrant, plan_values

Line = dict[str, Any]
_FIGURES = ("val_accuracy", "test_accuracy", "trainable", "total")


def line_of(folder: Path, about: Line) -> Line:
    """The line of a study; about: its name, kind, model, data, group, images a class and start.

    `board`: a method each with the accuracy of its best trial on validation, its mean one on test,
    that of each seed, and its parameters; `tried`: see `trials_of`, of each;
    `agreement`, `sure` and `ensembles`: what `foldtune analyse` tells of pairs and of ensembles
    (None where fewer than two methods have logits); `frontiers`: accuracies between start and
    tuned, a run each.
    """
    rows = list(Store(folder).rows())
    board = leaderboard(rows)
    study = json.loads((folder / "study.json").read_text())
    frontiers = [_frontier(file) for file in sorted((folder / "wise").glob("*.json"))]
    return {
        **about,
        "runs": len(rows),
        "seconds": round(sum(row["seconds"] or 0.0 for row in rows), 1),
        "classes": len(study["classes"]),
        "images": study["images"],
        "board": [_standing(entry, rows) for entry in board],
        "tried": {entry["label"]: trials_of(entry["label"]) for entry in board},
        **_pairs(folder),
        "frontiers": frontiers,
    }


def read_lines(path: Path) -> list[Line]:
    """The lines of a file, the last of each study."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return list({(line["kind"], line["study"]): line for line in lines}.values())


def trials_of(label: str) -> list[Line]:
    """What a search of the method, as it comes, tries today."""
    return [dict(values) for values in plan_values(Entrant.parse(label), TRIALS, seed=0)]


def is_of_today(line: Line) -> bool:
    """Whether the methods of a line would have the same tried today."""
    tried = line.get("tried", {})
    return all(
        e["label"] in tried and tried[e["label"]] == trials_of(e["label"]) for e in line["board"]
    )


def keep(line: Line, path: Path) -> None:
    """Append the line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _standing(entry: Any, rows: Sequence[Any]) -> Line:
    """A method's entry of the leaderboard, as far as it is judged."""
    seeds = [row["test_accuracy"] for row in rows
             if row["label"] == entry["label"] and row["stage"] == "final"]  # fmt: skip
    kept = {key: entry[key] for key in ("label", *_FIGURES)}
    return {**kept, "seeds": [None if one is None else round(one, 5) for one in seeds]}


def _frontier(file: Path) -> Line:
    """That of a run, its accuracies with as many digits as images can tell."""
    told = json.loads(file.read_text())
    rows = [{k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
            for row in told["rows"]]  # fmt: skip
    return {**told, "rows": rows}


def _pairs(folder: Path) -> Line:
    """What pairs of methods and ensembles tell, without what nothing here reads."""
    try:
        told = analyse(folder, draws=500)
    except InputError:
        return {"agreement": None, "sure": None, "ensembles": None}
    return {
        "agreement": [
            {"a": p["a"], "b": p["b"], "beyond_seeds": _value(p["beyond_seeds"])}
            for p in told["agreement"] if not p["control"]
        ],
        "sure": [
            {"a": p["a"], "b": p["b"], "control": p["control"], "jaccard": _value(p["jaccard"])}
            for p in told["confident"]["right"]["pairs"]
        ],
        "ensembles": [
            {key: r[key] for key in ("ensemble", "members", "control", "passes")}
            | {"gain": _value(r["gain"])}
            for r in told["ensembles"]
        ],
    }  # fmt: skip


def _value(interval: Any) -> float | None:
    return None if interval is None else round(interval["value"], 7)
