"""Hostile texts: methods, and names of classes, files and columns."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from _hostile import NAMES, VALUES
from _seeds import CLASSES, SIZE, image, tunings
from PIL import Image
from safetensors import safe_open
from tensors import _write

_METHODS = ("SSF", "LoRA", "AdaptFormer", "VPTDeep", "Convpass", "FacTTT", "LastBlocks", "IA3")
_FIELDS = ("rank", "alpha", "dropout", "count", "sites", "scale", "groups", "part", "statistics")
_PARTS = (
    "(", ")", "()", "+", ",", "=", "[", "]", "{", "}", "'", '"', "\\", "\n", "#", ":", "lambda: 0",
    "*", "**{}", "1", "-1", "0", "1e999", "10**9", "0x7fffffff", "True", "None", "'a'", "b'a'",
    "__import__('os').system('touch executed')", "().__class__", "f'{1}'", "(1,)*9", "\x00",
    "\ud800", "9" * 5000,
)  # fmt: skip


def method(home: Path, folder: Path, draw: random.Random) -> Sequence[object]:
    """A method's text, nearly right or not at all."""
    if draw.random() < 0.5:
        text = "".join(_one(draw) for _ in range(draw.choice((1, 1, 2, 40))))
    else:
        parts = (*_PARTS, *_METHODS, *_FIELDS)
        text = "".join(draw.choice(parts) for _ in range(draw.choice((1, 3, 8, 30))))
    return ("inspect", "micro", "--size", SIZE, "--method", text or " ")


def _one(draw: random.Random) -> str:
    values = (*map(repr, VALUES[:18]), "2", "4", "'qkv'", "('attn.in',)")
    inside = ", ".join(
        f"{draw.choice(_FIELDS)}={draw.choice(values)[:200]}" for _ in range(draw.choice((0, 1, 2)))
    )
    return f"{draw.choice(_METHODS)}({inside}){draw.choice(('', '', ' + ', '+'))}"


def name(home: Path, folder: Path, draw: random.Random) -> Sequence[object]:
    """Names of classes and files, in folders, in a table and in a tuning."""
    what = draw.randrange(3)
    if what == 0:
        source = tunings(home)[0]
        with safe_open(source, "pt") as file:
            header = file.metadata()["foldtune"]
            tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        import json

        told = json.loads(header)
        del told["hash"]
        told |= {"classes": [draw.choice(NAMES) + c for c in CLASSES]}
        _write(folder / "t.safetensors", json.dumps(told), tensors, sealed=True)
        as_json = ("--json",) if draw.random() < 0.3 else ()
        return ("predict", folder / "t.safetensors", image(home), *as_json)
    if what == 1:
        for label in draw.sample(NAMES, 3):
            place = folder / "data" / label.replace("/", "_").replace("\x00", "")
            place.mkdir(parents=True, exist_ok=True)
            for number in range(2):
                odd = draw.choice(NAMES).replace("/", "_")[:150]
                Image.new("RGB", (8, 8)).save(place / f"{number}{odd}.png")
        return ("data", "check", folder / "data")
    table = folder / draw.choice(("t.csv", "t.jsonl"))
    lines = [draw.choice(NAMES) for _ in range(6)]
    if table.suffix == ".csv":
        table.write_text("path,label\n" + "".join(f"{n}.png,{n}\n" for n in lines), "utf-8")
    else:
        rows = ('{"path": "a.png", "label": 1e999}', "[" * 3000, '{"path": {}, "label": []}', "{",
                '{"path": "\\u001b[2J.png", "label": "x"}', "null", '{"label": "a"}')  # fmt: skip
        table.write_text("".join(f"{draw.choice(rows)}\n" for _ in range(3)), "utf-8")
    return ("data", "check", table)
