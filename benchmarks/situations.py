"""Writes the table of situations: what every method does in other people's loops.

    python benchmarks/situations.py

tries every catalogued method in every situation on a tiny ViT, and writes
src/foldtune/methods/situations.json and docs/situations.md. A wrong cell stops it. Each method has
a process of its own, since process groups and compilers leave things behind. About ten minutes on a
core; prints one line per method.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from foldtune.methods import parse
from foldtune.testing.capabilities import own_methods
from foldtune.testing.situations import RIGHT, SITUATIONS, check_host, title

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "src/foldtune/methods/situations.json"
PAGE = ROOT / "docs/situations.md"
HOST = "vit"


def page(table: dict[str, dict[str, str]]) -> str:
    """The table as Markdown: a row for each situation, reasons of refusals below it."""
    rows, reasons = [], []
    for situation in SITUATIONS:
        cells = {method: found[situation.__name__] for method, found in table.items()}
        right = [m for m, words in cells.items() if words == RIGHT]
        refused = {m: words for m, words in cells.items() if words != RIGHT}
        rows.append(f"| {title(situation)} | {len(right)} | {len(refused)} |")
        told: dict[str, list[str]] = {}
        for method, words in refused.items():
            plain = re.sub(r"`|\([^()]*\)", "", words.replace(method, "the method"))
            told.setdefault(re.sub(r"\w+\.[\w.]*\d[\w.]*|[\d,]+", "…", plain), []).append(method)
        for words, methods in told.items():
            who = "all" if len(methods) == len(cells) else ", ".join(methods)
            reasons.append(f"- **{title(situation)}** ({who}): {words}")
    return "\n".join(
        [
            "# What other people's loops do",
            "",
            f"Written by `python benchmarks/situations.py`: {len(table)} methods in "
            f"{len(SITUATIONS)} situations on a tiny ViT in float64. Each of the "
            f"{len(table) * len(SITUATIONS)} cells was run; it is right, or refused in words. "
            "Method by method: `foldtune/methods/situations.json`. One's own method and host: "
            "`foldtune.testing.check_host(method, host)`.",
            "",
            "| situation | right | refused |",
            "|---|---|---|",
            *rows,
            "",
            "## Refused, and why",
            "",
            *reasons,
            "",
        ]
    )


def row(method: str) -> dict[str, str]:
    """The verdicts of one method."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    return check_host(parse(method), HOST)


def main() -> None:
    table: dict[str, dict[str, str]] = {}
    for name in own_methods():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            table[name] = pool.submit(row, name).result()
        right = sum(words == RIGHT for words in table[name].values())
        print(json.dumps({"method": name, "right": right, "of": len(SITUATIONS)}), flush=True)
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
    PAGE.write_text(page(table))


if __name__ == "__main__":
    main()
