"""What a study found, in sentences: computed from rows, plain text, escaped by the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foldtune.analysis.ranking import diverged

Row = dict[str, Any]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def interval(entry: Row) -> str:
    return "–" if entry["low"] is None else f"{100 * entry['low']:.1f} to {100 * entry['high']:.1f}"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def standing(entry: Row, best: Row | None) -> str:
    """An entry against the chosen method, by their intervals on the test split."""
    if best is None or entry["indistinguishable"] is None:
        return "–"
    if entry["winner"]:
        return "chosen on validation"
    if entry["indistinguishable"]:
        return "not distinguishable"
    return "lower" if entry["test_accuracy"] < best["test_accuracy"] else "higher"


def verdict(board: Sequence[Row]) -> list[str]:
    """Who wins, its test accuracy, and whom it cannot be told apart from."""
    best = next((entry for entry in board if entry["winner"]), None)
    if best is None:
        return ["No trial has finished with a validation accuracy, so no method is chosen."]
    said = [
        f"{best['label']} is chosen: with {best['method']} it has the best validation accuracy, "
        f"{percent(best['val_accuracy'])}."
    ]
    if best["test_accuracy"] is None:
        return [*said, "Its final run on the test split has not finished yet."]
    images = f"the {best['test_images']:,} test images" if best["test_images"] else "the test split"
    said.append(
        f"On {images} it reaches {percent(best['test_accuracy'])}"
        + (f" (95 % interval {interval(best)})." if best["low"] is not None else ".")
    )
    return [*said, *_others(board, best)]


def _others(board: Sequence[Row], best: Row) -> list[str]:
    others = [e for e in board if e is not best and e["indistinguishable"] is not None]
    alike = [entry["label"] for entry in others if entry["indistinguishable"]]
    if not others:
        return []
    if not alike:
        return ["Its interval overlaps no other method's."]
    who = "none of the others" if len(alike) == len(others) else listed(alike)
    said = f"This test split cannot tell it apart from {who}: the intervals overlap."
    if len(alike) == len(others):
        said = "This test split cannot tell it apart from any other method: the intervals overlap."
    light = min(others, key=lambda e: (not e["indistinguishable"], e["trainable"]))
    if light["trainable"] < best["trainable"]:
        said += (
            f" The smallest of them is {light['label']}, with {light['trainable']:,} parameters."
        )
    return [said]


def budget(rows: Sequence[Row], board: Sequence[Row]) -> str:
    """How much was spent, and whether every method was given the same."""
    trials = sorted({entry["trials"] for entry in board})
    finals = sum(row["stage"] == "final" for row in rows)
    each = f"{count(trials[0], 'trial')} each"
    if len(trials) > 1:
        each = f"between {trials[0]} and {trials[-1]} trials each"
    tuned = sorted({entry["epochs"] for entry in board})
    epochs = count(tuned[0], "epoch") if len(tuned) == 1 else f"{tuned[0]} to {tuned[-1]} epochs"
    spent = duration(sum(entry["seconds"] for entry in board))
    return (
        f"{count(len(board), 'method')}, {each}, {count(finals, 'final run')}: "
        f"{count(len(rows), 'run')} in {spent} of training; "
        f"{epochs} spent on each method's tuning."
    )


def notes(rows: Sequence[Row], board: Sequence[Row]) -> list[str]:
    """What a reader must know before trusting the figures."""
    said = [
        "Methods and hyper-parameters are chosen by validation accuracy alone. The test split is "
        "read once, by the final run of each method's chosen configuration.",
        "Accuracies are those of the last epoch. The best epoch is shown beside the validation "
        "figure for information and decides nothing.",
        _covers(board),
    ]
    lost = [f"{e['label']} ({e['diverged']})" for e in board if e["diverged"]]
    if lost:
        runs = count(sum(diverged(row) for row in rows), "run")
        said.append(f"{runs} diverged and spent budget without a figure: {listed(lost)}.")
    if len({entry["trials"] for entry in board}) > 1:
        said.append("The tuning budgets differ between methods, so the comparison is not even.")
    pending = [entry["label"] for entry in board if entry["test_accuracy"] is None]
    if pending:
        said.append(f"Without a final run of the chosen configuration: {listed(pending)}.")
    best = next((entry for entry in board if entry["winner"]), None)
    if best and board[0] is not best and board[0]["test_accuracy"] is not None:
        said.append(
            f"{board[0]['label']} has the highest test accuracy. It is not the chosen method, "
            "because choosing on the test split would make its figure too good."
        )
    if any(row.get("pretrained") is False for row in rows):
        said.append("The backbone was not pre-trained: the figures say little about transfer.")
    return [line for line in said if line]


def protocol(asked: Row) -> list[str]:
    """Which protocol was followed, and where it was not."""
    told = asked.get("protocol")
    if not isinstance(told, dict):
        return []
    said = [f"Protocol: {told['name']}" + (f", task {told['task']}." if told.get("task") else ".")]
    said += [
        f"It differs from the publication in {one['what']}: there {one['paper']}; here "
        f"{one['here']}, since {one['why']}."
        for one in told.get("differs") or ()
    ]
    changed = [f"{name} {value}" for name, value in (told.get("changed") or {}).items()]
    if changed:
        said.append(f"Changed by the caller: {listed(changed)}.")
    if told.get("missing"):
        said.append(f"Left out, since it cannot be done here: {listed(told['missing'])}.")
    return said


def _covers(board: Sequence[Row]) -> str:
    kinds = {entry["interval"] for entry in board} - {None}
    said = []
    if "images" in kinds:
        said.append("with one seed, other test images (Wilson), not other seeds")
    if "images and seeds" in kinds:
        said.append("with several seeds, other test images and other seeds")
    if "seeds" in kinds:
        said.append("without the number of test images, other seeds only (Student's t)")
    return f"The 95 % intervals cover: {'; '.join(said)}." if said else ""
