"""Tables of analyses: a decision, a ranking over tasks, estimates with their intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from foldtune.console import emit, table, write

Row = dict[str, Any]


def tell(told: Row, json: bool) -> None:
    """The decision and its sentences, or all as JSON."""
    if json:
        emit(told)
        return
    if told["decision"] is not None:
        _show_decision(told["decision"])
    for line in told["verdict"]:
        write(line)


def _show_decision(told: Row) -> None:
    columns = ("method", "accuracy", "low", "high", "rank_low", "rank_high", "may_be_best")
    table(told["methods"], columns, f"Accuracy and ranks over {told['covers']}")
    apart = sum(row["apart"] for row in told["pairs"])
    of = f"{apart} of {len(told['pairs'])} pairs apart"
    table(
        flat(told["pairs"]),
        ("a", "b", "difference", "p", "apart"),
        f"Differences of accuracy, all pairs together ({of})",
    )


def show_ranking(told: Row) -> None:
    for name, rows in {"all tasks": told["overall"], **told["groups"]}.items():
        lines = [r | {"places": " ".join(map(str, r["frequency"]))} for r in rows]
        table(flat(lines), ("method", "score", "rank", "places"), f"Mean rank, {name}")
    if told["friedman"]:
        differ = "differ" if told["friedman"]["differ"] else "are not distinguishable"
        write(
            f"Friedman (Iman-Davenport): p = {told['friedman']['f_p']:.2g}, the methods {differ}."
        )
    critical = told["nemenyi"]["critical_difference"]
    if critical is not None:
        write(f"Nemenyi: mean ranks closer than {critical:.2f} are not distinguishable:")
    for clique in told["nemenyi"]["cliques"]:
        write(f"  {', '.join(clique)}")
    unlike = [row for row in told["pairs"] if row["distinguishable"]]
    write(f"Wilcoxon with Holm: {len(unlike)} of {len(told['pairs'])} pairs are distinguishable.")
    columns = ("a", "b", "median_difference", "wins", "losses", "p")
    if unlike:
        table(unlike, columns)
    if told["between_groups"]:
        table(told["between_groups"], ("a", "b", "tau", "p"), "Kendall's tau between groups")


def show_check(check: Row) -> None:
    rows = [
        {"regret": name, **check[key]}
        for name, key in (
            ("always the best on average", "baseline"),
            ("advice", "advice"),
            ("advice, feature chosen without the task", "nested"),
        )
    ]
    title = f"Points lost to the best method, each of {check['tasks']} tasks left out in turn"
    table(flat(rows), ("regret", "one", "three"), title)


def flat(rows: Iterable[Row]) -> list[Row]:
    """Rows with each estimate as `value [low, high]`."""
    return [{key: _estimated(value) for key, value in row.items()} for row in rows]


def _estimated(value: Any) -> Any:
    if not isinstance(value, dict) or "value" not in value:
        return value
    if value["value"] is None:
        return None
    if value["low"] is None:
        return f"{value['value']:.4g}"
    return f"{value['value']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"
