"""Probe every method on every family and write the packaged table and docs/capabilities.md.

    python benchmarks/capabilities.py                 # all cells, float64 and float32: 2 minutes
    python benchmarks/capabilities.py --missing       # only pairs that the table has not
    python benchmarks/capabilities.py --trace vit     # torch.export and torch.compile on families

Tracing takes about a second a pair; without names it takes all families, with `--methods` these
methods alone. What an earlier call traced stays in the table. Prints one line per family.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods.catalogue import parse
from foldtune.testing.capabilities import as_json, probe_family, probed_methods
from foldtune.testing.hosts import FAMILIES

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "src/foldtune/methods/capabilities.json"
PAGE = ROOT / "docs/capabilities.md"
COUNTED = ("vit_base_patch16_224", "resnet50")
SIGNS = {"merges": "●", "merges, adds keys": "◉", "stays": "○", "refused": "–"}


def probe_all(known: dict[str, Any]) -> dict[str, Any]:
    """Cells, merging errors and costs of all methods; pairs in `known` are not asked again."""
    names = probed_methods()
    methods: dict[str, Any] = {
        name: known.get(name)
        or {
            "starts_as_identity": parse(name).starts_as_identity,
            "worst_merge_error": {},
            "families": {},
        }
        for name in names
    }
    for family in FAMILIES:
        lacking = tuple(n for n in names if family not in methods[n]["families"])
        for dtype in (torch.float64, torch.float32):
            cells, errors = probe_family(family, lacking, dtype)
            for name, cell in cells.items():
                if dtype == torch.float64:
                    methods[name]["families"][family] = as_json(cell)
                worst, key = methods[name]["worst_merge_error"], str(dtype).removeprefix("torch.")
                if cell.merges:
                    worst[key] = max(worst.get(key, 0.0), float(f"{errors.get(name, 0.0):.1e}"))
        print(json.dumps({"family": family, "probed": len(lacking)}), flush=True)
    for name, cost in extra_flops([n for n in names if n not in known]).items():
        methods[name]["extra_flops_percent"] = cost
    for facts in methods.values():
        facts["families"] = {f: facts["families"][f] for f in FAMILIES}
    return methods


def extra_flops(names: Iterable[str]) -> dict[str, float]:
    """Products of ViT-B/16 at 224 pixels with the method on it, in percent above without; of
    ResNet-50 for what stands on convolutions alone.

    For what does not merge; a merged model has the products of the plain one.
    """
    from timm import create_model

    with torch.device("meta"):
        x, costs = torch.zeros(1, 3, 224, 224), {}
        hosts = [create_model(name).eval() for name in COUNTED]
        plain = [_flops(host, x) for host in hosts]
        for name in names:
            # A library's layers are changes of stored tensors, and it may build none on meta.
            held = parse(name).library
            costs[name] = 0.0 if held else round(100.0 * _added(name, hosts, plain, x), 2)
    return costs


def _added(name: str, hosts: list[torch.nn.Module], plain: list[int], x: torch.Tensor) -> float:
    for host, without in zip(hosts, plain, strict=True):
        try:
            attachment = attach(host, parse(name), example=x)
        except InputError:
            continue
        host.eval()
        added = 0.0 if attachment.mergeable else _flops(host, x) / without - 1.0
        attachment.detach()
        return added
    raise InputError(f"{name} stands on none of {', '.join(COUNTED)}")


def _flops(model: torch.nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops()


def page(table: dict[str, Any]) -> str:
    """The table for people: families with the same column share it."""
    methods = table["methods"]
    columns: dict[tuple[str, ...], list[str]] = {}
    for family in FAMILIES:
        column = tuple(_sign(facts["families"][family]) for facts in methods.values())
        columns.setdefault(column, []).append(family)
    letters = {chr(65 + i): families for i, families in enumerate(columns.values())}
    lines = [
        "# What every method can do on every family",
        "",
        "Found by attaching each to tiny real hosts of timm, transformers, open_clip and our own "
        "(`foldtune.testing.hosts`),",
        "written by `python benchmarks/capabilities.py`; a test fails when a cell changes. The "
        "same as JSON: `foldtune methods --json`.",
        "",
        "● merges exactly into the plain keys, no cost left. ◉ merges exactly and adds keys that "
        "the plain model lacks",
        "(one affine before a pooling). ○ stays beside the model. – refused, for the reason below.",
        "",
        *(f"- **{letter}**: {', '.join(families)}" for letter, families in letters.items()),
        "",
        f"| method | start | cost | float64 | float32 | {' | '.join(letters)} |",
        f"|---|---|---|---|---|{'---|' * len(letters)}",
        *(_row(name, facts, letters) for name, facts in methods.items()),
        "",
        "start: = the plain output, ≈ near it or moved. cost: products of ViT-B/16 (ResNet-50 for "
        "ConvAdapter) above the plain ones at inference; 0 once merged.",
        "float64, float32: largest relative error of the logits of any merged family "
        "(limits 1e-10 and 1e-5).",
        "",
        "In every cell that is not –, each trainable tensor got a gradient in training, moving "
        "them moved the output,",
        "and detaching gave back every bit. `blocks` in the JSON says in how many blocks the "
        "method stands.",
        "",
        *_traced(table),
        "",
        "## Refusals",
        "",
        "One host stands for all with the same reason; the message itself goes on with the methods "
        "that can.",
        "",
        *_refusals(methods, letters),
    ]
    return "\n".join(lines) + "\n"


def _sign(cell: dict[str, Any]) -> str:
    if "refused" in cell:
        return SIGNS["refused"]
    if not cell.get("merges"):
        return SIGNS["stays"]
    return SIGNS["merges, adds keys" if cell.get("adds") else "merges"]


def _row(name: str, facts: dict[str, Any], letters: dict[str, list[str]]) -> str:
    cells = [_sign(facts["families"][families[0]]) for families in letters.values()]
    worst = facts["worst_merge_error"]
    errors = [f"{worst[d]:.0e}" if d in worst else "" for d in ("float64", "float32")]
    start = "=" if facts["starts_as_identity"] else "≈"
    cost = f"+{facts['extra_flops_percent']:.1f} %" if facts["extra_flops_percent"] else "0"
    return f"| {' | '.join([name, start, cost, *errors, *cells])} |"


def _traced(table: dict[str, Any]) -> list[str]:
    """Which of the pairs that stand were traced; `not_traced` holds those that were not."""
    wrong = [f"{family}: {', '.join(names)}" for family, names in table["traced"].items() if names]
    pairs = [
        (name, family)
        for name, facts in table["methods"].items()
        for family, cell in facts["families"].items()
        if "refused" not in cell
    ]
    left = table.get("not_traced", {})
    missing = [(name, family) for name, family in pairs if family in left.get(name, ())]
    where: dict[str, list[str]] = {}  # the methods by what they lack
    for name in dict.fromkeys(name for name, _ in missing):
        lacking = [f for n, f in missing if n == name]
        where.setdefault(_on(lacking, [f for n, f in pairs if n == name]), []).append(name)
    told = "; ".join(f"{', '.join(names)} {on}" for on, names in where.items())
    return [
        f"`torch.export` and `torch.compile(fullgraph=True)` agree with the attached model in "
        f"{len(pairs) - len(missing)} of the {len(pairs)} pairs that stand"
        + (f", but for {'; '.join(wrong)}" if wrong else "")
        + (f". Not traced yet: {told}." if told else "."),
    ]


def _on(families: list[str], stands: list[str]) -> str:
    """On which of the families that a method stands on, the shorter way round."""
    others = [f for f in stands if f not in families]
    if len(families) > len(others):
        return f"on all but {', '.join(others)}" if others else "on all"
    return f"on {', '.join(families)}"


def _refusals(methods: dict[str, Any], letters: dict[str, list[str]]) -> list[str]:
    """One line for methods and columns refused in the same words, names and numbers aside."""
    told: dict[str, tuple[str, list[str], list[str]]] = {}
    for name, facts in methods.items():
        if " + " in name:
            continue
        bare = name.removesuffix("()")
        for letter, family in ((letter, f) for letter, found in letters.items() for f in found):
            reason = facts["families"][family].get("refused")
            if reason is None:
                continue
            reason = reason.replace(name, bare).partition(", which has the roles")[0]
            words = re.sub(r"[\w.]*\d[\w.]*|\[[^\]]*\]|\([^)]*\)|\b[A-Z]\w+", "", reason)
            _, names, at = told.setdefault(words, (reason, [], []))
            names += [bare] * (bare not in names)
            at += [letter] * (letter not in at)
    return [
        f"- **{', '.join(names)}** on {', '.join(at)}: {reason}"
        for reason, names, at in told.values()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", nargs="*", metavar="FAMILY", choices=[*FAMILIES, []])
    parser.add_argument("--methods", nargs="*", metavar="METHOD", choices=probed_methods())
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--page", action="store_true", help="write the page again, probe nothing")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {"methods": {}, "traced": {}}
    if asked.trace is None and not asked.page:
        known = table["methods"]
        table["methods"] = probe_all(known if asked.missing else {})
        for name, facts in table["methods"].items():
            new = [f for f in facts["families"] if f not in known.get(name, {}).get("families", ())]
            table.setdefault("not_traced", {}).setdefault(name, []).extend(new)
    for family in FAMILIES if asked.trace == [] else asked.trace or ():
        names = asked.methods or probed_methods()
        wrong = [n for n in table["traced"].get(family, ()) if n not in names]
        for name in names:
            try:
                probe_family(family, (name,), traced=True)
            except Exception as error:  # dynamo raises many kinds
                wrong.append(name)
                print(json.dumps({"family": family, "method": name, "error": str(error)[:300]}))
        table["traced"][family] = wrong
        for name, left in table.get("not_traced", {}).items():
            if name in names and family in left:
                left.remove(family)
        print(json.dumps({"family": family, "traced": True}), flush=True)
        _write(table)
    _write(table)


def _write(table: dict[str, Any]) -> None:
    ordered = {f: table["traced"][f] for f in FAMILIES if f in table["traced"]}
    left = {name: f for name, f in table.get("not_traced", {}).items() if f}
    table = table | {"traced": ordered, "not_traced": left}
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
    PAGE.write_text(page(table))


if __name__ == "__main__":
    main()
