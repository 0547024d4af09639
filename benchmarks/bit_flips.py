"""Random bit flips in the files of decoded images: is each noticed before it reaches a gradient?

    python benchmarks/bit_flips.py [--flips 1000] [--images 24] [--size 16] [--seed N]

A store and a stream of the same images are made. Then, as often as asked, one random bit of one of
their files (drawn evenly among the files, the pixels among them) is flipped, the data is opened
anew, and every image is read through training's batch loader, with its label and key. Prints one
JSON line a figure: how many flips were mended or changed nothing that is read, how many were
refused by name, and how many gave other pixels, labels or keys, of which there must be none.
"""

from __future__ import annotations

import argparse
import random
import secrets
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _lines import Lines, add_results
from PIL import Image

from foldtune.data import ImageData, load_data
from foldtune.data.streaming import stream_data
from foldtune.errors import InputError
from foldtune.training.batches import Data

Read = tuple[np.ndarray, ...]


def main() -> None:
    """Flip and count."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--flips", type=int, default=1000)
    options.add_argument("--images", type=int, default=24)
    options.add_argument("--size", type=int, default=16)
    options.add_argument("--seed", type=int, default=None)
    add_results(options)
    asked = options.parse_args()
    seed = secrets.randbelow(10**9) if asked.seed is None else asked.seed
    warnings.simplefilter("ignore", RuntimeWarning)  # a mended row is told
    with tempfile.TemporaryDirectory() as home:
        found, files = flipped(Path(home), asked, random.Random(seed))
    lines = Lines("bit_flips", asked)
    for name, aim in (("mended", None), ("refused", None), ("reached a gradient", "= 0")):
        lines.tell(name, found[name], "flips", aim, seed=seed, flips=asked.flips, files=files)


def flipped(
    home: Path, asked: argparse.Namespace, draw: random.Random
) -> tuple[Counter[str], dict[str, int]]:
    """How often what became of a flip, and how many flips each kind of file got."""
    source, cache, sound = home / "images", home / "cache", home / "sound"
    _pictures(source, asked.images)
    truth = _everything(load_data(source, size=asked.size, cache=cache))
    _everything(_streamed(source, asked.size, cache))
    shutil.copytree(cache, sound)
    files = sorted(p.relative_to(cache) for p in cache.rglob("*") if p.is_file())
    found: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for _ in range(asked.flips):
        file = draw.choice(files)
        _flip(cache / file, draw)
        kinds[f"{file.parts[0] if len(file.parts[0]) < 32 else 'store'}/{file.suffix}"] += 1
        found[_became(source, asked.size, cache, file, truth)] += 1
        shutil.rmtree(cache)
        shutil.copytree(sound, cache)
    return found, dict(kinds)


def _became(source: Path, size: int, cache: Path, file: Path, truth: Read) -> str:
    try:
        if "streams" in file.parts:
            read = _everything(_streamed(source, size, cache))
        else:
            read = _everything(load_data(source, size=size, cache=cache, workers=1))
    except InputError:
        return "refused"
    same = all(np.array_equal(one, known) for one, known in zip(read, truth, strict=True))
    return "mended" if same else "reached a gradient"


def _streamed(source: Path, size: int, cache: Path) -> ImageData:
    return stream_data(source, size=size, cache=cache, workers=1)


def _everything(data: ImageData) -> Read:
    """Pixels and labels as training's loader gives them, and the keys."""
    rows = np.arange(len(data.labels))
    loader = Data(data.pixels, data.labels, rows)
    pixels, labels = loader.load(rows, torch.device("cpu"))
    keys = np.array(data.keys[rows])
    close: Any = getattr(data.pixels, "close", None)
    if close is not None:
        close()
    return pixels.numpy(), labels.numpy(), keys


def _flip(file: Path, draw: random.Random) -> None:
    data = bytearray(file.read_bytes())
    bit = draw.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def _pictures(folder: Path, count: int) -> None:
    draw = np.random.default_rng(0)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)


if __name__ == "__main__":
    main()
