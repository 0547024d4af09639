"""The sweep of families for people: who stands where, why not elsewhere, and on how much."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from foldtune.testing.attending import ATTENDING

Rows = dict[str, dict[str, Any]]
# Methods that take whatever biases or norms there are, or the last blocks, by what they are: for
# these a part of a role is no shortfall.
_TAKE_WHAT_IS_THERE = ("BitFit", "DiffFit", "LayerNorm", "LastBlocks", "SSF")
_WHOLE = re.compile(r"(\d+)/\1 ")


def page(table: dict[str, Rows], every: dict[str, Any]) -> str:
    """docs/families.md of the table of families and the digest of the whole sweep."""
    reasons = _Reasons()
    tables = [line for library, rows in table.items() for line in _grid(library, rows, reasons)]
    lines = [
        "# Every family of timm, transformers and open_clip",
        "",
        "Written by `python benchmarks/families.py`, on the meta device: the smallest architecture "
        "of each module of timm,",
        "every model type that transformers maps to image classification (with the defaults of its "
        "configuration), every",
        "kind of visual tower of open_clip. It asks where methods find their places; "
        "[capabilities.md](capabilities.md) tells",
        "what each does there, tried out on tiny hosts. The numbers of places are in "
        "`benchmarks/families.json`.",
        "",
        *(_summary(library, rows) for library, rows in table.items()),
        "",
        "● stands; a number: refused, for the [reason](#why-not) of that number. Families with the "
        "same row share it.",
        "",
        *tables,
        "## Why not",
        "",
        "In the words of one of the hosts; the message itself goes on with the methods that can.",
        "",
        *reasons.lines(),
        "",
        "## On a part of what it names",
        "",
        "Where a method that goes by roles leaves layers of a role out: LoRA and DoRA those of "
        "gates of channels (squeeze and",
        "excitation), RepAdapter convolutions in groups, ConvAdapter all but spatial ones, "
        "AdaptFormer blocks without an MLP.",
        "BitFit, DiffFit, norm tuning, SSF and LastBlocks take what biases, norms "
        "or blocks there are.",
        "",
        *_parts(table),
        "",
        "## What was found in each",
        "",
        "Attention is found by its products (features with features), and each has a projection "
        "into it.",
        "",
        *(line for library, rows in table.items() for line in _found(library, rows)),
        *_attending(),
        *_every(every),
    ]
    return "\n".join(lines) + "\n"


class _Reasons:
    """Refusals numbered in the order in which they are met, names and numbers of hosts aside."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, str, list[str]]] = {}

    def number(self, method: str, row: dict[str, Any]) -> int:
        reason = row["refused"][method].partition(", which has the roles")[0]
        words = re.sub(
            r"[\w.]*\d[\w.]*|\[[^\]]*\]|\([^)]*\)|\b[A-Z]\w+|\b[a-z_]+(\.[a-z_]+)+", "", reason
        )
        number, _, methods = self.known.setdefault(words, (len(self.known) + 1, reason, []))
        methods += [method] * (method not in methods)
        return number

    def lines(self) -> list[str]:
        return [f"{n}. {', '.join(who)}: {reason}" for n, reason, who in self.known.values()]


def _summary(library: str, rows: Rows) -> str:
    told = [row for row in rows.values() if "stands" in row]
    attending = [row for row in told if row["attention"]]
    return (
        f"- **{library}**: {len(rows)} families, {len(attending)} attend, with "
        f"{sum(r['projected'] for r in attending)} of {sum(r['attention'] for r in attending)} "
        f"attentions projected; {sum(bool(r['shortfall']) for r in told)} fall short; "
        f"{len(rows) - len(told)} cannot be read."
    )


def _grid(library: str, rows: Rows, reasons: _Reasons) -> Iterator[str]:
    """Families by methods."""
    told = {family: row for family, row in rows.items() if "stands" in row}
    methods = sorted({m for row in told.values() for m in (*row["stands"], *row["refused"])})
    groups: dict[tuple[str, ...], list[str]] = {}
    for family, row in told.items():
        cells = tuple("●" if m in row["stands"] else str(reasons.number(m, row)) for m in methods)
        groups.setdefault(cells, []).append(family)
    yield from (f"## Methods on the families of {library}", "")
    yield f"| families | {' | '.join(methods)} |"
    yield f"|---|{'---|' * len(methods)}"
    for cells, families in sorted(groups.items(), key=lambda pair: (-_dots(pair[0]), pair[1])):
        yield f"| {', '.join(families)} | {' | '.join(cells)} |"
    yield ""
    for family, row in rows.items():
        if "failed" in row:
            yield f"- **{family}** is refused as a whole: {row['failed']}"
    yield ""


def _dots(cells: tuple[str, ...]) -> int:
    return cells.count("●")


def _parts(table: dict[str, Rows]) -> list[str]:
    found: dict[str, list[str]] = {}
    for library, rows in table.items():
        for family, row in rows.items():
            for method, covered in row.get("stands", {}).items():
                pieces = [p for p in covered.split(", ") if p and not _WHOLE.match(p)]
                if pieces and method not in _TAKE_WHAT_IS_THERE:
                    where = family if library == "timm" else f"{library} {family}"
                    found.setdefault(method, []).append(f"{where} {', '.join(pieces)}")
    return [f"- **{method}**: {'; '.join(where)}" for method, where in sorted(found.items())]


def _found(library: str, rows: Rows) -> Iterator[str]:
    yield from (f"### {library}", "")
    yield "| family | architecture | blocks | attention | layers | without role | methods |"
    yield "|---|---|---|---|---|---|---|"
    for family, row in rows.items():
        if "failed" not in row:
            layers = ", ".join(f"{n} {role}" for role, n in row["roles"].items())
            attention = f"{row['projected']} of {row['attention']}" if row["attention"] else "–"
            cells = (family, row["model"], row["blocks"], attention, layers, row["apart"])
            yield f"| {' | '.join(map(str, cells))} | {len(row['stands'])} |"
    yield ""


def _attending() -> Iterator[str]:
    yield from ("## Attention checked by hand", "")
    yield (
        "The classes that attend, as read in the sources of the libraries, and how many of them "
        "each architecture is built of;"
    )
    yield (
        "a test holds what is found to these numbers (`foldtune.testing.attending`). In the other "
        "families of both nothing attends:"
    )
    yield (
        "gates that are called attention (of channels in SKNet and ResNeSt, of positions in "
        "CSATv2) multiply features element by element."
    )
    yield ""
    for library, families in ATTENDING.items():
        told = (
            f"{family} {', '.join(f'{n} {kind}' for kind, n in counted.items())}"
            for family, counted in families.items()
        )
        yield f"- **{library}**, {len(families)} families: {'; '.join(told)}"
    yield ""


def _every(every: dict[str, Any]) -> Iterator[str]:
    """The whole sweep, where one was made."""
    yield from ("## Every architecture", "", "By `make sweep`.", "")
    for library, told in every.items():
        yield (
            f"- **{library}**: {told['swept']} of {told['asked']} architectures swept; "
            f"{told['projected']} of {told['attention']} attentions projected; "
            f"{len(told['short'])} fall short; {len(told['errors'])} raise what is no refusal; "
            f"{len(told['refused'])} are refused as a whole; {len(told['unlike'])} have other "
            "methods than their family's row above."
        )
    yield ""
    for library, told in every.items():
        for what in ("short", "errors", "refused"):
            yield from (f"- {library} {name}: {why}" for name, why in told[what].items())
    by_change: dict[tuple[str, str], list[str]] = {}
    for library, told in every.items():
        for name, change in told["unlike"].items():
            by_change.setdefault((library, change), []).append(name)
    for (library, change), names in sorted(by_change.items()):
        yield f"- {library} `{change}`: {', '.join(names)}"
