"""What hostile files are made of: values, texts, bytes and tensors that nobody sane writes."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

MARKER = "executed"  # the file that a hostile pickle or text would make
_DEEP: Any = None
for _ in range(300):
    _DEEP = [_DEEP]
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**12, -(10**12), 10**30, 0.5, 1e308, float("nan"),
    float("inf"), "", "0", "a" * 100_000, "\x1b[2J\x1b]0;x\x07", "\ud800", "../../x", "/dev/zero",
    "x\u202egnp", "<script>alert(1)</script>", "{{7*7}}", "%s%n", "\x00", "hf-hub:stranger/model",
    "hf:stranger/model", f"__import__('os').system('touch {MARKER}')", [], {}, [[]], [{}],
    {"a": {}}, [None] * 5, list(range(1000)), {str(n): n for n in range(300)}, _DEEP,
)  # fmt: skip
NAMES = (
    "\x1b[31mred", "a\nb", "a\tb", "<b>bold</b>", "[bold]x[/bold]", "=cmd|' /C calc'!A0", "x" * 200,
    "\u202eevil", "\u2028", "鳥", "é", " ", ".hidden", "-rf", "--out", "$(touch executed)", "`id`",
    "a;b", "a,b", '"', "'", "\\", "%00", "\x7f", "\x9b2J", "NUL", "{{7*7}}", "&amp;", "a\rb",
)  # fmt: skip


def value_mutated(value: Any, draw: random.Random, times: int = 1) -> Any:
    """A JSON value with some of its parts replaced, doubled or taken out."""
    found = copy.deepcopy(value)
    for _ in range(times):
        holder = _place(found, draw)
        if holder is None:
            return draw.choice(VALUES)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = draw.choice(keys)
        what = draw.random()
        if what < 0.15:
            del holder[key]
        elif what < 0.25 and isinstance(holder, dict):
            holder[draw.choice(NAMES)] = holder.pop(key)
        else:
            holder[key] = copy.deepcopy(draw.choice(VALUES))  # else one may come to hold itself
    return found


def _place(value: Any, draw: random.Random) -> Any:
    """A random list or object inside the value that is not empty."""
    found = []
    waiting = [value]
    while waiting and len(found) < 2000:
        part = waiting.pop()
        if isinstance(part, dict | list) and part:
            found.append(part)
            waiting += part.values() if isinstance(part, dict) else part
    return draw.choice(found) if found else None


def text_of(value: Any) -> str:
    """JSON as a careless writer makes it, with NaN and lone surrogates."""
    return json.dumps(value)


def bytes_mutated(data: bytes, draw: random.Random) -> bytes:
    """The bytes with a few flipped, cut off, put in or doubled."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 4, 64))):
        at, what = draw.randrange(len(found) + 1), draw.random()
        if what < 0.5 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif what < 0.7:
            del found[at:]
        elif what < 0.85:
            found[at:at] = draw.randbytes(draw.choice((1, 8, 1000)))
        else:
            found[at:at] = found[: draw.choice((1, 8, 1000))]
    return bytes(found)


def tensors_mutated(
    tensors: Mapping[str, torch.Tensor], draw: random.Random
) -> dict[str, torch.Tensor]:
    """The tensors with one taken out, renamed, reshaped, of another kind, or not finite."""
    found = {name: tensor.clone() for name, tensor in tensors.items()}
    for _ in range(draw.choice((1, 1, 2))):
        if not found:
            break
        name = draw.choice(sorted(found))
        tensor = found.pop(name)
        what = draw.randrange(8)
        if what == 1:
            found[draw.choice(NAMES)] = tensor
        elif what == 2:
            found[name] = tensor.flatten().clone()
        elif what == 3:
            kinds = (torch.float16, torch.int64, torch.bool, torch.complex64)
            found[name] = tensor.to(draw.choice(kinds))
        elif what == 4:
            found[name] = torch.full_like(tensor.float(), draw.choice((float("nan"), float("inf"))))
        elif what == 5:
            found[name] = torch.zeros((0,))
        elif what == 6:
            found[name] = torch.zeros(draw.choice(((1,) * 9, (2**20,), (3, 5, 7))))
        elif what == 7:
            found[name] = tensor.unsqueeze(0).clone()
    return found


class Payload:
    """Pickled, an order to touch the marker; unpickled without care, obeyed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, (f"touch {self.folder / MARKER}",)
