"""Seeded mutators of bytes: flipped, cut, repeated, spliced, with numbers that overflow."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Bytes = Callable[[random.Random, bytes], bytes]
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
_HEAD = 200  # bytes in which headers lie, and most mutations


def flip(rng: random.Random, data: bytes) -> bytes:
    """Some bits another."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        found[_place(rng, found)] ^= 1 << rng.randrange(8)
    return bytes(found)


def number(rng: random.Random, data: bytes) -> bytes:
    """A number that is large, or none, in the place of another."""
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice(_NUMBERS) % (1 << 8 * width)
    at = _place(rng, data)
    return data[:at] + value.to_bytes(width, rng.choice(("big", "little"))) + data[at + width :]


def cut(rng: random.Random, data: bytes) -> bytes:
    """Cut off, or a piece cut out."""
    at = rng.randrange(len(data) + 1)
    return data[:at] if rng.random() < 0.6 else data[:at] + data[at + rng.randrange(1, 400) :]


def repeat(rng: random.Random, data: bytes) -> bytes:
    """A piece many times."""
    at, length = rng.randrange(len(data)), rng.randrange(1, 200)
    return data[:at] + data[at : at + length] * rng.choice((2, 10, 1000)) + data[at:]


def noise(rng: random.Random, data: bytes) -> bytes:
    """Random bytes in the place of a piece."""
    at, length = _place(rng, data), rng.randrange(1, 64)
    return data[:at] + rng.randbytes(length) + data[at + length :]


def mutated(rng: random.Random, data: bytes, more: Sequence[Bytes] = ()) -> bytes:
    """One to four mutations; empty data stays so."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if data:
            data = rng.choice((flip, flip, number, number, cut, repeat, noise, *more))(rng, data)
    return data


def spliced(rng: random.Random, one: bytes, other: bytes) -> bytes:
    """The beginning of one and the end of another."""
    return one[: rng.randrange(len(one) + 1)] + other[rng.randrange(len(other) + 1) :]


def _place(rng: random.Random, data: bytes | bytearray) -> int:
    most = min(len(data), _HEAD) if rng.random() < 0.7 else len(data)
    return rng.randrange(max(1, most))
