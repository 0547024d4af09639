"""Tables of analyses: a decision, a ranking over tasks, estimates with their intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from foldtune.console import facts, percent, table, write

Row = dict[str, Any]
_WORST = 5  # classes of a table of reliability


def show_decision(told: Row, full: bool) -> None:
    """The verdict, then the methods it is about, and all their pairs."""
    for line in told["verdict"]:
        write(line)
    decision = told["decision"]
    if decision is None:
        return
    write("")
    rows = [
        {
            "method": row["method"],
            "test": percent(row["accuracy"]),
            "95 % interval": f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
            "rank": f"{row['rank_low']} to {row['rank_high']}",
            "may be best": row["may_be_best"],
        }
        for row in decision["methods"]
    ]
    table(rows, tuple(rows[0]), f"Accuracy and ranks over {decision['covers']}")
    if not full:
        return
    apart = sum(row["apart"] for row in decision["pairs"])
    of = f"{apart} of {len(decision['pairs'])} pairs apart"
    table(
        flat(decision["pairs"]),
        ("a", "b", "difference", "p", "apart"),
        f"Differences of accuracy, all pairs together ({of})",
    )


def show_analysis(told: Row, full: bool) -> None:
    """The verdict and the methods; with `full` how alike they are and what ensembles gain."""
    show_decision(told, full)
    if "figures" in told:  # of a task of which the rest has no meaning
        table(told["figures"], tuple(told["figures"][0]), f"Each metric of {told['task']}")
        if full:
            _show_reliability(told)
        for line in told["notes"]:
            write(line)
        return
    if not full:
        _brief(told)
        return
    columns = ("a", "b", "agreement", "seeds_agreement", "given_both_wrong", "kappa")
    table(flat(told["agreement"]), columns, "Agreement (a with itself: other seeds)")
    facts(flat([told["oracle"]])[0])
    for side, found in told["confident"].items():
        title = f"Overlap of the {found['k']} most confident {side} predictions"
        table(flat(found["pairs"]), ("a", "b", "jaccard"), title)
        if found["venn"]:
            facts(found["venn"]["regions"])
    columns = ("ensemble", "rule", "accuracy", "gain", "gain_over_mean", "passes")
    table(flat(told["ensembles"]), columns, "Ensembles (last: the control, other seeds)")
    columns = ("method", "top1", "nll", "brier", "ece", "aurc")
    table(told["calibration"], columns, "Calibration")
    _show_reliability(told)
    for line in told["notes"]:
        write(line)


def _show_reliability(told: Row) -> None:
    """The classes or labels whose probabilities are furthest off, of each method."""
    columns = ("class", "images", "share", "probability", "ece", "by_chance")
    for name, rows in told.get("reliability", {}).items():
        table(rows[:_WORST], columns, f"Probabilities of {name} that are furthest off")


def _brief(told: Row) -> None:
    """What ensembles gain, in a sentence, and where the rest is."""
    write("")
    ensembles = told["ensembles"][:-1] if len(told["ensembles"]) > 1 else told["ensembles"]
    judged = [row for row in ensembles if (row.get("gain") or {}).get("value") is not None]
    if judged:
        best = max(judged, key=lambda row: row["gain"]["value"])
        gain = best["gain"]
        between = ""
        if gain.get("low") is not None:
            between = f" (95 % interval {100 * gain['low']:.1f} to {100 * gain['high']:.1f})"
        write(
            f"The ensemble that gains most, {best['ensemble']} by {best['rule']}, is "
            f"{100 * gain['value']:+.1f} points from the chosen method{between}."
        )
    write("--full prints the pairs, how alike methods are, ensembles and calibration.")


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
    return [{key: _with_interval(value) for key, value in row.items()} for row in rows]


def _with_interval(value: Any) -> Any:
    if not isinstance(value, dict) or "value" not in value:
        return value
    if value["value"] is None:
        return None
    if value["low"] is None:
        return f"{value['value']:.4g}"
    return f"{value['value']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"
