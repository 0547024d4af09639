"""What hashing each row at its first use costs a study over a warm store.

    python benchmarks/checking.py [--data shapes/count] [--rounds 5]

The same study, one process, once with rows that are hashed when they are first used and once with
the bare file, in turn, in the opposite order in every other round; each round opens the store anew,
as a new process does. Prints one JSON line a figure:
- study_checked_to_bare: the median over rounds of the ratio of processor times;
- hashing_share: the processor time spent in hashing rows by that of the checked study, the largest
  of the rounds. A busy machine hardly changes it, as it does the ratio of two studies.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from _lines import Lines, add_results

from foldtune.backbones import Backbone, load_backbone
from foldtune.data import ImageData, load_data
from foldtune.data.store.checked import CheckedPixels
from foldtune.study.compare import compare
from foldtune.training.recipe import Recipe

METHODS = ("LinearProbe", "BitFit")
AIM, SHARE = "<= 1.02", "<= 0.02"


class Timed(CheckedPixels):
    """Checked pixels that add up the processor time of checking, of each study in turn."""

    spent: ClassVar[list[float]] = []

    def check(self, rows: np.ndarray) -> None:
        begun = time.process_time()
        super().check(rows)
        self.spent[-1] += time.process_time() - begun


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--data", default="shapes/count")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--shots", type=int, default=40)
    add_results(options)
    asked = options.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbone("micro")
    with tempfile.TemporaryDirectory() as home:
        spent: dict[bool, list[float]] = {True: [], False: []}
        _study(asked, backbone, Path(home), "warm", True)
        for number in range(asked.rounds):
            for checked in (True, False) if number % 2 else (False, True):
                name = f"{number}-{checked}"
                spent[checked].append(_study(asked, backbone, Path(home), name, checked))
    shares = [one / whole for one, whole in zip(Timed.spent[1:], spent[True], strict=True)]
    lines = Lines("checking", asked)
    lines.tell("hashing_share", max(shares), "of processor time", SHARE, data=asked.data)
    ratios = [one / bare for one, bare in zip(spent[True], spent[False], strict=True)]
    lines.tell(
        "study_checked_to_bare", statistics.median(ratios), "x of processor time", AIM,
        lowest=min(ratios), highest=max(ratios), seconds=statistics.median(spent[False]),
        data=asked.data, methods=METHODS,
    )  # fmt: skip


def _study(
    asked: argparse.Namespace, backbone: Backbone, home: Path, name: str, checked: bool
) -> float:
    """Processor time of a study, its data opened anew."""
    data = load_data(asked.data, size=backbone.transform.size, cache=home / "cache")
    data = data.few_shot(asked.shots)
    data = _timed(data) if checked else replace(data, pixels=_of(data).bare)
    recipe = Recipe(epochs=2, warmup_epochs=0.2, batch_size=32, lr=3e-3)
    begun = time.process_time()
    compare(
        data, backbone, METHODS, out=home / name, trials=1, seeds=1, recipe=recipe
    )  # fmt: skip
    return time.process_time() - begun


def _timed(data: ImageData) -> ImageData:
    Timed.spent.append(0.0)
    pixels: Any = Timed(_of(data).bare, _of(data).hashes)
    return replace(data, pixels=pixels)


def _of(data: ImageData) -> CheckedPixels:
    assert isinstance(data.pixels, CheckedPixels)
    return data.pixels


if __name__ == "__main__":
    main()
