"""Sweep timm, transformers and open_clip: which methods stand on which family, on how much of it.

    python benchmarks/families.py           # the members that the table has, one a family: minutes
    python benchmarks/families.py --pick    # the smallest member of each family anew: minutes more
    python benchmarks/families.py --all --out FILE    # every architecture: `make sweep`
    python benchmarks/families.py --page    # the page again, nothing swept

Writes benchmarks/families.json and docs/families.md. `--all` adds a line for each architecture to
FILE, goes on where an earlier call was stopped, and ends by writing benchmarks/results/
architectures.json; its exit status is 1 where an architecture raised what is no refusal, or where
an attention has no projection.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from families_page import page

from foldtune.errors import InputError
from foldtune.testing.families import smallest
from foldtune.testing.libraries import SOURCES

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "benchmarks/families.json"
PAGE = ROOT / "docs/families.md"
EVERY = ROOT / "benchmarks/results/architectures.json"

Table = dict[str, dict[str, dict[str, Any]]]  # by library and family


def table(known: Table, pick: bool) -> Table:
    """One member of each family swept: the one that `known` has, or the smallest."""
    found: Table = {}
    for library, source in SOURCES.items():
        found[library] = {}
        for family, names in source.families().items():
            kept = None if pick else known.get(library, {}).get(family, {}).get("model")
            name = kept or (names[0] if len(names) == 1 else smallest(names, source.host))
            row = found[library][family] = swept(library, name)
            print(json.dumps({"library": library, "family": family} | row), flush=True)
    return found


def swept(library: str, name: str) -> dict[str, Any]:
    """The row of one architecture; `failed` where it is refused as a whole."""
    try:
        return asdict(SOURCES[library].sweep(name))
    except InputError as refusal:
        return {"model": name, "failed": str(refusal)}


def sweep_all(out: Path) -> None:
    """A line in `out` for each architecture that has none yet, in an order drawn once, so that a
    sweep that is stopped has seen something of everything."""
    done = {(row["library"], row["model"]) for row in read(out)}
    left = [
        (library, family, name)
        for library, source in SOURCES.items()
        for family, names in source.families().items()
        for name in names
        if (library, name) not in done
    ]
    random.Random(0).shuffle(left)
    for library, family, name in left:
        try:
            row = swept(library, name)
        except Exception as error:  # told in the digest: the others are swept all the same
            row = {"model": name, "error": f"{type(error).__name__}: {str(error)[:300]}"}
        with out.open("a") as file:
            file.write(json.dumps({"library": library, "family": family} | row) + "\n")


def digest(rows: list[dict[str, Any]], known: Table) -> dict[str, Any]:
    """What the whole sweep came to, by library.

    asked: architectures there are; swept: those with a row. attention, projected: in all of them.
    refused: the reason of each that is refused as a whole. errors: what is no refusal. unlike:
    architectures with other methods than their family's row, as "+A -B".
    """
    found = {}
    for library, source in SOURCES.items():
        mine = {r["model"]: r for r in rows if r["library"] == library}
        names = [n for members in source.families().values() for n in members]
        told = [mine[n] for n in names if n in mine]
        whole = [r for r in told if "stands" in r]
        found[library] = {
            "asked": len(names),
            "swept": len(told),
            "attention": sum(r["attention"] for r in whole),
            "projected": sum(r["projected"] for r in whole),
            "short": {r["model"]: r["shortfall"] for r in whole if r["shortfall"]},
            "refused": {r["model"]: r["failed"] for r in told if "failed" in r},
            "errors": {r["model"]: r["error"] for r in told if "error" in r},
            "unlike": dict(
                sorted(
                    (r["model"], other)
                    for r in whole
                    if (other := _unlike(r, known[library][r["family"]]))
                )
            ),
        }
    return found


def _unlike(row: dict[str, Any], usual: dict[str, Any]) -> str:
    asked = {*row["stands"], *row["refused"]}  # a method may have come since
    stands, others = set(row["stands"]), set(usual.get("stands", ())) & asked
    more, fewer = sorted(stands - others), sorted(others - stands)
    return " ".join([*(f"+{name}" for name in more), *(f"-{name}" for name in fewer)])


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a sweep, as far as it went."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pick", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("sweep.jsonl"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    known = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    if asked.all:
        sweep_all(asked.out)
        EVERY.write_text(json.dumps(digest(read(asked.out), known), indent=1) + "\n")
    elif not asked.page:
        known = table(known, asked.pick)
        TABLE.write_text(json.dumps(known, indent=1) + "\n")
    every = json.loads(EVERY.read_text()) if EVERY.exists() else {}
    PAGE.write_text(page(known, every))
    if asked.all and any(e["errors"] or e["short"] for e in every.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
