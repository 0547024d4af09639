"""The packaged cards of our own methods, with what a step of each costs; read without torch.

`methods/cards.json` is written by `python benchmarks/method_costs.py` from the classes themselves
and from counting; tests compare it with both. Importing the methods takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

_METHODS = Path(__file__).parents[1] / "methods"
PACKAGED = _METHODS / "cards.json"
# Whose step is 1.
YARDSTICK = "LoRA"

Row = dict[str, Any]


def known_cards() -> list[Row] | None:
    """The cards of all methods; None where a plug-in is installed, which has to be imported."""
    if list(entry_points(group="foldtune.methods")):
        return None
    return complete(read_packaged()["cards"])


def complete(cards: Sequence[Row]) -> list[Row]:
    """The cards with what their methods can do by family of backbones, as probed, and their cost:
    trainable parameters on the counted host (without the classifier), and a step's operations and
    kept activations, LoRA's being 1. None for a plug-in, which nobody has probed."""
    probed, steps = capabilities()["methods"], read_packaged()["steps"]
    return [
        card
        | {"capabilities": probed.get(f"{card['method']}()")}
        | relative(steps.get(card["method"]), steps[YARDSTICK])
        for card in cards
    ]


def relative(step: Row | None, yardstick: Row | None) -> Row:
    """Trainable parameters, and operations and activations as multiples of the yardstick's; None
    for what was not counted."""
    if step is None or yardstick is None:
        trainable = None if step is None else step["trainable"]
        return {"trainable": trainable, "operations": None, "activations": None}
    return {
        "trainable": step["trainable"],
        "operations": round(step["gflop"] / yardstick["gflop"], 2),
        "activations": round(step["mib"] / yardstick["mib"], 2),
    }


def capabilities() -> Row:
    """The packaged table of what each method can do on each family of backbones, as probed."""
    return _read(_METHODS / "capabilities.json")


def read_packaged() -> Row:
    """`counted`: the host and the step; `steps`: by method; `cards`: in the order shown."""
    return _read(PACKAGED)


@cache
def _read(path: Path) -> Row:
    found: Row = json.loads(path.read_text(encoding="utf-8"))
    return found
