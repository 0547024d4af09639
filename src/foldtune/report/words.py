"""What a study found, in sentences: computed from rows, plain text, escaped by the page."""

from __future__ import annotations

from collections.abc import Sequence

from foldtune.analysis.decision import SEEDS
from foldtune.analysis.leaderboard import is_diverged
from foldtune.analysis.row import Description, Row, Standing
from foldtune.console import duration
from foldtune.console import percent as percent
from foldtune.study.terms.terms import small_budget
from foldtune.tasks.metrics import DEFAULT, METRICS


def of_metric(lines: Sequence[str], metric: str) -> list[str]:
    """The sentences with what they call accuracy called by the name of the metric that chooses."""
    if metric == DEFAULT or metric not in METRICS:
        return list(lines)
    found = METRICS[metric]
    score = f"score ({found.title})" if found.error else found.title
    return [
        line.replace("Accuracies are", "Figures are").replace("accuracies", "figures")
        .replace("Accuracy", score[0].upper() + score[1:]).replace("accuracy", score)
        for line in lines
    ]  # fmt: skip


def judged_by(metric: str, task: str) -> list[str]:
    """What the figures are, where they are not accuracy of one class an image."""
    if metric == DEFAULT or metric not in METRICS:
        return []
    found = METRICS[metric]
    how = f"1 minus the {found.title} over the span of the labels" if found.error else found.title
    told = f" The task is {task}." if task else ""
    return [f"Every figure of table and charts is the score that chooses: {how}, in percent.{told}"]


def interval(entry: Standing) -> str:
    low, high = entry["low"], entry["high"]
    return "–" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def join_names(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> join_names(["SSF", "LoRA", "BitFit"])
    'SSF, LoRA and BitFit'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def budget(rows: Sequence[Row], board: Sequence[Standing]) -> str:
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


def notes(rows: Sequence[Row], board: Sequence[Standing]) -> list[str]:
    """What a reader must know before trusting the figures."""
    said = [
        "Methods and hyper-parameters are chosen by validation accuracy alone. The test split is "
        "read once, by the final run of each method's chosen configuration.",
        "Accuracies are those of the last epoch. The best epoch is shown beside the validation "
        "figure for information and decides nothing.",
        _covers(board),
        *_small(board),
    ]
    lost = [f"{e['label']} ({e['diverged']})" for e in board if e["diverged"]]
    if lost:
        runs = count(sum(is_diverged(row) for row in rows), "run")
        said.append(f"{runs} diverged and spent budget without a figure: {join_names(lost)}.")
    if len({entry["trials"] for entry in board}) > 1:
        said.append("The tuning budgets differ between methods, so the comparison is not even.")
    pending = [entry["label"] for entry in board if entry["test_accuracy"] is None]
    if pending:
        said.append(f"Without a final run of the chosen configuration: {join_names(pending)}.")
    best = next((entry for entry in board if entry["winner"]), None)
    if best and board[0] is not best and board[0]["test_accuracy"] is not None:
        said.append(
            f"{board[0]['label']} has the highest test accuracy. It is not the chosen method, "
            "because choosing on the test split would make its figure too good."
        )
    if any(row.get("pretrained") is False for row in rows):
        said.append("The backbone was not pre-trained: the figures say little about transfer.")
    return [line for line in said if line]


def _small(board: Sequence[Standing]) -> list[str]:
    """What the budget of the search can and cannot tell."""
    trials = max((entry["trials"] for entry in board), default=0)
    if not trials:
        return []
    seeds = max(entry["seeds"] for entry in board)
    said = [
        f"A method stands for the best that {count(trials, 'trial')} of it found, not for the best "
        "it can do: a longer search may change the order. The intervals hold for the chosen "
        "configurations; to judge methods whatever the search finds, repeat it (--search-seed)."
    ]
    return said + [f"{line[0].upper()}{line[1:]}." for line in small_budget(trials, seeds or 2)]


def protocol(asked: Description) -> list[str]:
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
        said.append(f"Changed by the caller: {join_names(changed)}.")
    if told.get("missing"):
        said.append(f"Left out, since it cannot be done here: {join_names(told['missing'])}.")
    return said


def _covers(board: Sequence[Standing]) -> str:
    kinds = {entry["interval"] for entry in board} - {None}
    if not kinds:
        return ""
    seeds = "and other training seeds of the same configuration" if SEEDS in kinds else "only"
    return (
        f"The 95 % intervals cover other test images {seeds}. They do not cover choosing "
        "hyper-parameters again, other training images, or a shift."
    )
