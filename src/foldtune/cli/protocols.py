"""The verb about protocols: what a paper's recipe fixes, and where this house differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from foldtune.cli.app import JSON, MAIN, app, words
from foldtune.console import emit, facts, table, write

if TYPE_CHECKING:
    from foldtune.study.protocols import Protocol

_MEANS = ("method", "mean_of_tasks", "mean_of_groups")


@app.command
def protocols(
    name: Annotated[
        str | None, words("One of them; by default all are listed.", group=MAIN)
    ] = None,
    *,
    task: Annotated[str | None, words("Show what it fixes for one of its tasks.")] = None,
    json: JSON = False,
) -> None:
    """List the protocols that `compare --protocol` knows, or show the one called NAME whole."""
    from foldtune.study.protocols import protocol
    from foldtune.study.protocols import protocols as known

    if name is None:
        rows = [_line(found) for found in known().values()]
        emit(rows) if json else table(rows, ("protocol", "title", "cannot", "differs"))
        return
    found = protocol(name)
    if task is not None:
        found = found.for_known_task(task)
    told = _whole(found)
    emit(told) if json else _print(told)


def _line(found: Protocol) -> dict[str, Any]:
    return {
        "protocol": found.name,
        "title": found.facts["title"],
        "backbone": found.facts["backbone"],
        "methods": len(found.entrants),
        "tasks": list(found.tasks),
        "fixes": {"recipe": found.facts["recipe"], "search": found.search, "data": found.data},
        "cannot": ", ".join(found.all_missing()) or "-",
        "differs": ", ".join(one["what"] for one in found.facts.get("differs", ())) or "-",
    }


def _whole(found: Protocol) -> dict[str, Any]:
    from dataclasses import asdict

    from foldtune.methods.catalogue import parse
    from foldtune.study.protocols.published import published_accuracies

    told = _line(found) | {
        "source": found.facts["source"],
        "task": found.task,
        "seeds": found.facts["seeds"],
        "head": found.facts["head"],
        "differs": list(found.facts.get("differs", ())),
        "given": list(found.facts.get("given", ())),
    }
    rows = []
    for text in found.entrants:
        entrant, recipe = found.entrant(text)
        grid = {k: v if isinstance(v, tuple) else asdict(v) for k, v in entrant.space.items()}
        # The recipe's own values of what is searched decide nothing.
        fixed = {k: v for k, v in asdict(recipe).items() if k not in grid}
        kind = type(parse(text).parts[0]).__name__
        rows.append({"method": text, "kind": kind, "searched": grid, "recipe": fixed})
    told["methods"] = rows
    if found.facts.get("tasks") == "vtab" and len(found.entrants) > 1:
        told["published"] = published_accuracies()
    return told


def _print(told: dict[str, Any]) -> None:
    shown = ("protocol", "title", "source", "backbone", "task", "seeds", "head", "cannot")
    facts({key: told[key] for key in shown})
    fixes = told["fixes"]
    for kind in ("data", "recipe", "search"):
        write(f"\n{kind}")
        facts({f"  {key}": value for key, value in fixes[kind].items()})
    if told["tasks"]:
        write(f"\ntasks\n  {', '.join(told['tasks'])}")
    if told["given"]:
        write("\ngiven for single tasks, families of backbones or methods")
        for one in told["given"]:
            write("  " + ", ".join(f"{key} {value}" for key, value in one.items()))
    write("\nsearched")
    for row in told["methods"]:
        grid = "; ".join(f"{k} {v}" for k, v in row["searched"].items())
        write(f"  {row['method']}: {grid or 'nothing, all is given'}")
    for one in told["differs"]:
        write(f"\ndiffers in {one['what']}\n  there: {one['paper']}\n  here: {one['here']}")
        write(f"  why: {one['why']}")
    if "published" in told:
        write("\npublished, last epoch, test, one seed: mean over the 19 tasks, and mean of the")
        write("means of the three groups")
        table(told["published"], _MEANS)
