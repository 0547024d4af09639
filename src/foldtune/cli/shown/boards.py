"""What a finished comparison says on a terminal: the verdict, the table, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldtune.console import facts, percent, table, write
from foldtune.errors import some

if TYPE_CHECKING:
    from foldtune.analysis.row import Standing
    from foldtune.study.conclusion import Comparison

_ALL = (
    "label", "method", "val_accuracy", "val_best_accuracy", "val_best_epoch", "test_accuracy",
    "low", "high", "interval", "against", "trainable", "mergeable", "trials", "diverged", "seconds",
)  # fmt: skip


def show_comparison(found: Comparison, report: Path | None, full: bool = False) -> None:
    """The verdict in words, the methods as validation has them, and the commands that follow."""
    from foldtune.report.lead import lead
    from foldtune.report.verdict import verdict
    from foldtune.report.words import judged_by, of_metric

    said = of_metric(verdict(found.leaderboard, found.decision, found.validation), found.metric)
    first = {
        name: of_metric([told], found.metric)[0]
        for name, told in lead(found.leaderboard, found.decision)
    }
    write(f"{said[0]}" if not first else f"Use {first.pop('Use')}")
    for name, told in first.items():
        write(f"{name}: {told}")
    if full or not first:
        for line in said[1:] if not first else said:
            write(line)
    write("")
    board = in_order_of_choice(found.leaderboard)
    if full:
        table(board, _ALL)
    else:
        rows = [row_of(entry, place) for place, entry in enumerate(board, 1)]
        columns = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
        table(rows, columns)
        write(_legend(board))
    for line in judged_by(found.metric, repr(found.data.task)):
        write(line)
    for label, reason in found.left_out.items():
        write(f"{label} was left out: {reason}.")
    write("")
    _next(found, report)


def in_order_of_choice(board: Sequence[Standing]) -> list[Standing]:
    """As validation chooses: the winner first, what was not judged last."""
    from foldtune.analysis.leaderboard import by_validation

    judged = [entry for entry in board if entry["val_accuracy"] is not None]
    judged.sort(key=lambda entry: (not entry["winner"], by_validation(entry)))
    return judged + [entry for entry in board if entry["val_accuracy"] is None]


def row_of(entry: Standing, place: int) -> dict[str, Any]:
    """A method in words, as the table and the notebook show it."""
    from foldtune.report.shortfalls import warning
    from foldtune.report.verdict import standing
    from foldtune.report.words import interval

    return {
        "": "➤" if entry["winner"] else str(place),
        "method": entry["label"],
        "validation": percent(entry["val_accuracy"]),
        "test": percent(entry["test_accuracy"]),
        "95 % interval": interval(entry),
        "against the chosen": standing(entry),
        "trained parameters": "–" if entry["trainable"] is None else f"{entry['trainable']:,}",
        "folds in": {True: "yes", False: "no", None: "–"}[entry["mergeable"]],
        "settings": _settings(entry),
        "warning": warning(entry),
    }


def _settings(entry: Standing) -> str:
    recipe = entry["recipe"]
    if recipe.get("epochs") == 0:
        return f"{entry['method']}, solved"
    return f"{entry['method']}, lr {recipe['lr']:.2g}, decay {recipe['weight_decay']:.2g}"


def _legend(board: Sequence[Standing]) -> str:
    chosen = next((entry for entry in board if entry["winner"]), None)
    if chosen is None:
        return "No method is chosen."
    higher = [
        entry["label"]
        for entry in board
        if (entry["test_accuracy"] or 0) > (chosen["test_accuracy"] or 0)
    ]
    why = "➤ is chosen, by validation alone: the test split selects nothing"
    if higher:
        why += f", so {', '.join(higher)} with a higher test figure may have had luck with it"
    return f"{why}. --full prints every column."


def _next(found: Comparison, report: Path | None) -> None:
    """What is where, and the commands that go on."""
    files = {"page": str(report)} if report else {}
    if found.tuning is not None:
        files["winner"] = str(found.tuning)
    if found.merged:
        files["merged"] = f"{found.merged}, {found.merged_label} folded in"
        files["certificate"] = str(found.certificate)
    if files:
        facts(files)
    if found.tuning is not None:
        write(f"Next: foldtune predict {shlex.quote(str(found.tuning))} IMAGES")
        write(f"      foldtune analyse {shlex.quote(str(found.folder))}")


_LOOKED = {
    "images": "images outside the test split",
    "classes": "classes",
    "probe": "a linear probe on frozen features reaches",
    "neighbours": "five nearest neighbours reach",
    "largest_class": "share of the largest class",
}


def show_advice(told: dict[str, Any], data: str, model: str) -> None:
    """What to try first, on what evidence, and how much such advice is worth."""
    first, *others = told["suggestions"]
    write(
        f"Try {first['method']} first"
        + (f", then {' and '.join(row['method'] for row in others)}" if others else "")
        + f". How sure that is: {told['sure']}."
    )
    write("")
    rows = [
        {
            "method": row["method"],
            "learning rate": row.get("lr"),
            "weight decay": row.get("weight_decay"),
            "points below the best, expected": row["expected_shortfall"],
            "within a point of the best": f"{row['support']:.0%}",
        }
        for row in told["suggestions"]
    ]
    table(rows, tuple(rows[0]))
    write("")
    facts({name: _percent_of(told["look"], key) for key, name in _LOOKED.items()})
    nearest = ", ".join(case["case"] for case in first["cases"])
    write(f"Most like, of {told['evidence']['published_tasks']} published tasks and "
          f"{len(told['evidence']['own_studies'])} own studies: {nearest}.")  # fmt: skip
    _show_record(told["record"])
    if told["evidence"]["unknown_methods"]:
        write(f"Nothing is known of: {some(told['evidence']['unknown_methods'], '--json')}.")
    for line in told["cautions"]:
        write(line)
    quoted = [shlex.quote(row["name"]) for row in told["suggestions"]]
    write("")
    write(f"Next: foldtune compare {shlex.quote(data)} --model {shlex.quote(model)} --methods "
          f"{' '.join(quoted)} --out DIR")  # fmt: skip


def _percent_of(seen: dict[str, Any], key: str) -> Any:
    value = seen[key]
    return percent(value) if isinstance(value, float) else value


def _show_record(record: dict[str, Any]) -> None:
    """How such advice did on the published tasks."""
    advice, baseline, nested = (record[k] for k in ("advice", "baseline", "nested"))
    write(
        "On the published tasks, each left out in turn, this advice lost "
        f"{advice['one']['value']:.2f} points to the best method with one suggestion and "
        f"{advice['three']['value']:.2f} with the best of three ({nested['one']['value']:.2f} and "
        f"{nested['three']['value']:.2f} where its feature is chosen without the task); always "
        f"the best on average {baseline['one']['value']:.2f} and {baseline['three']['value']:.2f}."
    )
    edge, first = record["edge"], record["calibration"]["first"]
    write(
        f"Its edge of {edge['gain']:.2f} points with one suggestion is {edge['without_one']:.2f} "
        f"without {edge['task']}. Within a point of the best is what it said of the first with "
        f"{first['said']:.0%} on average, and {first['true']:.0%} came true."
    )
