"""Write docs/reference.md, every verb with every option, and docs/methods.md, every card.

    python benchmarks/reference_page.py

Both are read from the source. Name, words and default are those of `foldtune VERB --help` and of
the arguments in Python.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foldtune.cli import app
from foldtune.methods.cards import cards

PAGE = Path(__file__).parents[1] / "docs/reference.md"
_FIRST = ("compare", "fit", "eval", "predict", "merge", "advise", "report", "status", "demo")
CARDS = PAGE.with_name("methods.md")
_CARDS = """# Methods

The cards of all methods, as `foldtune methods --json` gives them; written by
`python benchmarks/reference_page.py`. Which method stands on which family:
[what stands where](capabilities.md). What suits a model of yours, counted there:
`foldtune methods --suggest --model MODEL --budget 0.5%`.

Trainable parameters at the defaults, without the classifier, and a step's operations and kept
activations as multiples of LoRA's, are of ViT-B/16 at 224 pixels in batches of 32 (`python
benchmarks/method_costs.py`); merges: on how many of the families on which a method stands. What a
run caches, a probe's frozen features, is counted as if it were not.
"""
_HEAD = """# Reference of the command line

Written from the options themselves by `python benchmarks/reference_page.py`; `foldtune VERB --help`
says the same. `fit`, `compare`, `evaluate` (`eval` here), `predict`, `merge`, `advise` and
`load_data` take the options as arguments of the same name (`-` is `_`) and default in Python.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, verb in sorted(_verbs(app, "foldtune"), key=_place):
        parts.append(f"\n## {name}\n\n{_described(verb)}\n")
        for title, rows in _groups(verb):
            parts.append(f"\n**{title}**\n\n| option | what | default |\n|---|---|---|\n")
            parts += [f"| {' | '.join(row)} |\n" for row in rows]
    return "".join(parts)


def _verbs(parent: Any, words: str) -> Iterator[tuple[str, Any]]:
    for name in parent:
        if name.startswith("-"):
            continue
        verb = parent[name]
        if verb.default_command is None:
            yield from _verbs(verb, f"{words} {name}")
        else:
            yield f"{words} {name}", verb


def _place(named: tuple[str, Any]) -> tuple[int, str]:
    """What most people need first, then by name."""
    name = named[0].removeprefix("foldtune ")
    return _FIRST.index(name) if name in _FIRST else len(_FIRST), name


def _described(verb: Any) -> str:
    text = inspect.getdoc(verb.default_command) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _groups(verb: Any) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The arguments by the title of their group, in the order of the help."""
    found: dict[tuple[float, str], list[tuple[str, str, str]]] = {}
    for argument in verb.assemble_argument_collection(parse_docstring=True):
        if argument.children:
            continue
        group = argument.parameter.group[0]
        key = group.sort_key if isinstance(group.sort_key, int) else 99
        title = "Others" if group.name in ("Parameters", "Arguments") else group.name
        found.setdefault((key, title), []).append(_row(argument))
    return [(title, rows) for (_, title), rows in sorted(found.items(), key=lambda pair: pair[0])]


def _row(argument: Any) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in argument.names if _offered(name))
    field = argument.field_info
    if not names or (field.is_positional and argument.required):
        names = f"`{field.name.upper()}`"
    default = field.default
    shown = "" if default in (None, (), inspect.Parameter.empty) else f"`{_plain(default)}`"
    needed = "needed" if argument.required else shown
    return names, " ".join(argument.parameter.help.split()).replace("|", "\\|"), needed


def _offered(name: str) -> bool:
    """What the help names: an off switch only of what is on, or undecided, by default."""
    off = name.startswith(("--no-", "--empty-"))
    return name.startswith("-") and (not off or name in ("--no-pretrained", "--no-channels-last"))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def cards_page() -> str:
    """The card of each of our own methods."""
    own = [card for card in cards() if card["capabilities"] is not None]
    parts = [_CARDS, *_overview(own)]
    for card in own:
        settings = f"\n\nSettings: `{card['settings']}`." if card["settings"] else ""
        text = card["card"].replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")
        parts.append(f"\n## {card['method']}\n\n{text}{settings}\n")
    return "".join(parts)


def _overview(cards: list[dict[str, Any]]) -> Iterator[str]:
    """A table for each kind."""
    columns = ("method", "year", "trainable", "merges", "operations", "activations")
    kind = None
    for card in cards:
        if card["kind"] != kind:
            kind = card["kind"]
            yield f"\n**{kind}**\n\n| {' | '.join(columns)} |\n|---|---|---:|---:|---:|---:|\n"
        link = f"[{card['method']}](#{card['method'].lower()})"
        yield f"| {' | '.join([link, *(_figure(card[c]) for c in columns[1:])])} |\n"


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    CARDS.write_text(cards_page(), encoding="utf-8")
