"""Mutants: one small change of the source each, which some test must notice (mutmut).

    python benchmarks/mutants.py [--sample 50] [--seed 0] [--only 'analysis.ranks' 'data.aug*']
    python benchmarks/mutants.py --page

Draws a seeded sample of mutants from each folder, and runs for each mutant the tests that reach
its function. Survivors are kept in benchmarks/results/mutants.json, where a verdict is written by
hand; docs/mutants.md is made of it. Survivors kept before are tried again, so a test that was
added since shows. --page: only write the page. Changes of a text alone are not drawn, since most
are words of messages, nor is None in the place of a value, which any test sees.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT, PAGE = ROOT / "benchmarks/results/mutants.json", ROOT / "docs/mutants.md"
FOLDERS = ("analysis", "augment", "data", "judging", "training")
OPEN, EQUIVALENT, KILLED = "open", "equivalent", "killed since"
VERDICTS = {
    OPEN: "No test notices these yet.",
    EQUIVALENT: "No test can notice these: what they change shows in no result, or only in speed.",
    KILLED: "Survived once; a test was added.",
}
_OTHER = "timeout or crash"
_RESULTS = {1: "killed", 3: "killed", 0: "survived", 33: "no tests", 5: "no tests"}
_TEXT = re.compile(r"""[rbfu]*("[^"\n]*"|'[^'\n]*')""", re.IGNORECASE)

Row = dict[str, Any]


def main() -> None:
    """Draw, try and keep mutants, or write the page alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=50, help="mutants drawn from each folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="MODULE")
    parser.add_argument("--page", action="store_true", help="only write the page")
    asked = parser.parse_args()
    os.chdir(ROOT)
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {"runs": [], "survivors": []}
    if not asked.page:
        kept = _run(asked, kept)
        KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {_counted(kept['survivors'])}")


def _run(asked: argparse.Namespace, kept: Row) -> Row:
    """Try a sample and what survived before; the new contents of the kept file."""
    names = _made(asked.only)
    drawn, known = sample(names, asked.sample, asked.seed, change), []
    wanted = {(row["where"], row["change"]) for row in kept["survivors"]}
    functions = {where for where, _ in wanted}
    for name in names:
        if where(name) in functions and (where(name), change(name)) in wanted:
            known.append(name)
    results = _tried(sorted({*(n for ns in drawn.values() for n in ns), *known}))
    rows = [
        {"where": where(name), "change": change(name), "result": result}
        for name, result in results.items()
    ]
    run = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python benchmarks/mutants.py", *map(_quoted, sys.argv[1:])]),
        "folders": {
            folder: {"mutants": sum(_folder(name) == folder for name in names)}
            | dict(Counter(results[name] for name in its))
            for folder, its in drawn.items()
        },
    }
    return {"runs": [*kept["runs"], run], "survivors": merged(kept["survivors"], rows)}


def sample(names: Sequence[str], count: int, seed: int, change: Any) -> dict[str, list[str]]:
    """`count` mutants of each folder, those left out that tell little."""
    drawn: dict[str, list[str]] = {}
    for folder in FOLDERS:
        pool = sorted(name for name in names if _folder(name) == folder)
        random.Random(seed).shuffle(pool)
        telling = (name for name in pool if not tells_little(change(name)))
        drawn[folder] = [name for name, _ in zip(telling, range(count), strict=False)]
    return drawn


def merged(kept: Iterable[Row], tried: Iterable[Row]) -> list[Row]:
    """The survivors known after a run: verdicts stay, and what is killed now says so.

    A kept survivor that was not tried (its line is gone, or `--only` left it out) stays as it was.
    """
    found = {(row["where"], row["change"]): dict(row) for row in kept}
    for row in tried:
        key = row["where"], row["change"]
        if row["result"] in ("survived", "no tests"):
            before = found.get(key, {})
            verdict = before.get("verdict", OPEN)
            found[key] = {
                "where": key[0], "change": key[1],
                "verdict": OPEN if verdict == KILLED else verdict, "why": before.get("why", ""),
            }  # fmt: skip
        elif key in found:
            found[key]["verdict"] = KILLED
    return sorted(found.values(), key=lambda row: (row["where"], row["change"]))


def tells_little(change: str) -> bool:
    """Whether the lines differ in the letters of their texts alone, or by one more None."""
    old, new = (
        [_TEXT.sub("''", line[1:]) for line in change.splitlines() if line.startswith(sign)]
        for sign in "-+"
    )
    return old == new or str(new).count("None") > str(old).count("None")


def where(name: str) -> str:
    """`foldtune.data.store.decode.xǁFitǁapply__mutmut_3` is `data/store/decode.py Fit.apply`."""
    module, _, function = name.rpartition(".")
    function = function.rpartition("__mutmut_")[0].removeprefix("x")
    function = function.strip("ǁ").replace("ǁ", ".") if "ǁ" in function else function[1:]
    return f"{module.removeprefix('foldtune.').replace('.', '/')}.py {function}"


def page(kept: Row) -> str:
    """The text of docs/mutants.md."""
    survivors = kept["survivors"]
    lines = [
        "# Mutants", "",
        "A mutant is the source with one small change: a bound moved by one, a sign turned, an",
        "argument left out. A test suite that tells has a failing test for each. `make mutants`",
        "draws a seeded sample of them (mutmut), runs for each the tests that reach its function,",
        "and keeps the survivors; this page is made of `benchmarks/results/mutants.json` by",
        "`python benchmarks/mutants.py --page`, and the verdicts are written there by hand.",
        "Decorated functions and what stands outside of functions are not mutated. Not drawn are",
        "changes of a text alone, most of them words of messages, and None in place of a value,",
        "which any test sees.", "",
        "Each run, with the tests of its day:", "",
        "| date | folder | mutants | drawn | killed | survived | unreached | timeout or crash |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for run in kept["runs"]:
        for folder, told in run["folders"].items():
            counts = [told.get(name, 0) for name in ("killed", "survived", "no tests", _OTHER)]
            cells = [run["date"], folder, told["mutants"], sum(counts), *counts]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "```", *(run["command"] for run in kept["runs"]), "```"]
    for verdict, words in VERDICTS.items():
        rows = [row for row in survivors if row["verdict"] == verdict]
        lines += ["", f"## {verdict.capitalize()}: {len(rows)}", "", words]
        for row in rows:
            why = f": {row['why']}" if row["why"] else ""
            lines += ["", f"`{row['where']}`{why}", "", "```diff"]
            lines += [*row["change"].splitlines(), "```"]
    return "\n".join(lines) + "\n"


# -- mutmut ----------------------------------------------------------------------------------------


def _made(only: Sequence[str]) -> list[str]:
    """The names of all mutants of the modules asked for, written to mutants/."""
    from mutmut import __main__ as mutmut
    from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir

    os.environ["MUTANT_UNDER_TEST"] = "mutant_generation"
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    mutmut.create_mutants(1)
    found = []
    for path in Path("mutants").rglob("*.meta"):
        found += json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    patterns = [f"foldtune.{pattern}.x*" for pattern in only] if only != ["*"] else ["*"]
    return sorted(n for n in found if any(fnmatch.fnmatchcase(n, p) for p in patterns))


def change(name: str) -> str:
    """The lines that a mutant takes away and puts in, with - and +, without their indent."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(name).splitlines()[2:]
    return "\n".join(f"{x[0]} {x[1:].strip()}" for x in lines if x[:1] in "-+" and x[1:].strip())


def _tried(names: Sequence[str]) -> dict[str, str]:
    """What became of each mutant."""
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names],
        env={k: v for k, v in os.environ.items() if k != "MUTANT_UNDER_TEST"}
        | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode != 0:
        sys.exit("mutmut stopped; its own words are above")
    codes: dict[str, int | None] = {}
    for path in Path("mutants").rglob("*.meta"):
        codes |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return {name: _RESULTS.get(codes[name], _OTHER) for name in names}


# -- private ---------------------------------------------------------------------------------------


def _folder(name: str) -> str:
    return name.split(".")[1]


def _counted(survivors: Iterable[Row]) -> str:
    counts = Counter(row["verdict"] for row in survivors)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)


def _quoted(word: str) -> str:
    return f"'{word}'" if "*" in word else word


if __name__ == "__main__":
    main()
