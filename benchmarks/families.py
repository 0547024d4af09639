"""Sweep timm's architectures: which methods stand on which family, and on how much of it.

    python benchmarks/families.py           # the members that the table has, one a family: minutes
    python benchmarks/families.py --pick    # the smallest member of each family anew: minutes more
    python benchmarks/families.py --all     # every architecture: an hour or more, prints only

Writes benchmarks/families.json and docs/families.md; prints one JSON line for each architecture.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foldtune.errors import InputError
from foldtune.testing.families import families, smallest, sweep

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "benchmarks/families.json"
PAGE = ROOT / "docs/families.md"


def page(table: dict[str, dict[str, Any]]) -> str:
    """The table for people: a line a family, and where each method is refused."""
    told = [row for row in table.values() if "failed" not in row]
    attending = [row for row in told if row["attention"]]
    lines = [
        "# Every family of timm",
        "",
        "Written by `python benchmarks/families.py`: the smallest architecture of each module of "
        "timm, its blocks,",
        "its attention (found by its products, with a projection into it) and its layers by role, "
        "and where methods",
        "find their places. [capabilities.md](capabilities.md) tells what each can do there, tried "
        "out on tiny hosts.",
        "",
        f"{len(table)} families; {len(attending)} attend, with "
        f"{sum(r['projected'] for r in attending)} of {sum(r['attention'] for r in attending)} "
        "attentions projected; "
        f"{sum(bool(r['shortfall']) for r in told)} fall short; "
        f"{len(table) - len(told)} cannot be read.",
        "",
        "| family | architecture | blocks | attention | layers | without role | methods |",
        "|---|---|---|---|---|---|---|",
        *(_line(family, row) for family, row in table.items()),
        "",
        "## Refused",
        "",
        *_refusals(table),
    ]
    return "\n".join(lines) + "\n"


def _line(family: str, row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"| {family} | {row['model']} | | | {row['failed']} | | 0 |"
    layers = ", ".join(f"{n} {role}" for role, n in row["roles"].items())
    attention = f"{row['projected']} of {row['attention']}" if row["attention"] else "–"
    cells = (family, row["model"], row["blocks"], attention, layers, row["apart"])
    return f"| {' | '.join(map(str, cells))} | {len(row['stands'])} |"


def _refusals(table: dict[str, dict[str, Any]]) -> list[str]:
    where: dict[str, list[str]] = {}
    for family, row in table.items():
        for method in row.get("refused", ()):
            where.setdefault(method, []).append(family)
    return [
        f"- **{method}** on {len(found)}: {', '.join(found)}"
        for method, found in sorted(where.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pick", action="store_true")
    parser.add_argument("--all", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    known = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    table: dict[str, dict[str, Any]] = {}
    for family, names in families().items():
        kept = None if asked.pick else known.get(family, {}).get("model")
        for name in names if asked.all else [kept or smallest(names)]:
            try:
                row = asdict(sweep(name))
            except InputError as error:
                row = {"model": name, "failed": str(error)}
            print(json.dumps({"family": family} | row), flush=True)
            table[family] = row
    if not asked.all:
        TABLE.write_text(json.dumps(table, indent=1) + "\n")
        PAGE.write_text(page(table))


if __name__ == "__main__":
    main()
