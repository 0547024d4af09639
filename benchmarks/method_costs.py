"""Count a training step of every method on ViT-B/16 and write the packaged cards of all methods.

    python benchmarks/method_costs.py             # all: 46 methods, 9 s of one core each
    python benchmarks/method_costs.py --missing   # only methods that the table has not
    python benchmarks/method_costs.py --cards     # the cards' words again; counts nothing

Weights are random, since no count depends on them. A method that the host cannot take has no cost.
What is counted is written at once, so an interrupted call goes on with --missing.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from typing import Any

import torch

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.judging.counters import count
from foldtune.methods.cards import written_cards
from foldtune.methods.catalogue import parse
from foldtune.options.cards import PACKAGED
from foldtune.startup import import_hosts

COUNTED = {"host": "vit_base_patch16_224", "classes": 10, "batch": 32, "precision": "fp32"}


def step(host: torch.nn.Module, images: torch.Tensor, name: str) -> dict[str, Any] | None:
    """Trainable parameters without the classifier, operations and kept activations of a step."""
    try:
        attachment = attach(host, parse(name), example=images, seed=0)
    except InputError:
        return None
    operations, kept = count(host, images).of_step(COUNTED["batch"])
    trainable = attachment.trainable
    attachment.detach()
    return {
        "trainable": trainable,
        "gflop": round(operations / 1e9, 1),
        "mib": round(kept / 2**20, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--cards", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    known = json.loads(PACKAGED.read_text())["steps"] if PACKAGED.exists() else {}
    cards = written_cards()
    names = [card["method"] for card in cards]
    steps = {n: known[n] for n in names if n in known and (asked.missing or asked.cards)}
    import_hosts()
    from timm import create_model

    host = create_model(COUNTED["host"], num_classes=COUNTED["classes"])
    images = torch.rand(2, 3, 224, 224)
    for name in () if asked.cards else [n for n in names if n not in steps]:
        steps[name] = step(host, images, name)
        print(json.dumps({"method": name} | (steps[name] or {"stands": False})), flush=True)
        _write(steps, cards)
    _write(steps, cards)


def _write(steps: dict[str, Any], cards: list[dict[str, Any]]) -> None:
    ordered = {card["method"]: steps[card["method"]] for card in cards if card["method"] in steps}
    table = {"counted": COUNTED, "steps": ordered, "cards": cards}
    PACKAGED.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
