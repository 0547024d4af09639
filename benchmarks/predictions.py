"""How fast predict answers image files beside eval, in turn; one JSON line.

    python benchmarks/predictions.py FOLDER [ROUNDS]

FOLDER: class folders of images; files that are no images may be among them. Rates are images a
second of the clock; processor seconds are of this process and those that decode for it, which other
work on the machine moves less.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from foldtune.backbones import Backbone, load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.data import load_data
from foldtune.judging.predict import predict_logits
from foldtune.tunings.files import expand
from foldtune.tunings.predict import most_likely, predict_images
from foldtune.tunings.usable import Plain


def timed(work: Callable[[], int]) -> dict[str, float]:
    """Images, seconds and processor seconds of a piece of work."""
    begun, used = time.perf_counter(), sum(os.times()[:4])
    images = work()
    seconds, spent = time.perf_counter() - begun, sum(os.times()[:4]) - used
    return {"images": images, "rate": images / seconds, "processor": spent}


def evaluated(folder: Path, backbone: Backbone) -> int:
    """What eval does before it counts: decode into an empty cache, then predict."""
    with tempfile.TemporaryDirectory() as cache:
        data = load_data(folder, size=32, seed=None, skip_broken=True, cache=Path(cache))
        rows = np.arange(len(data.pixels))
        return len(predict_logits(backbone.model, data.pixels, rows, prepare_for(backbone)))


def answered(folder: Path, backbone: Backbone) -> int:
    """From names to the last answer."""
    answer = most_likely([str(number) for number in range(200)])
    rows = predict_images(Plain(backbone.model), backbone, expand([folder]), answer)
    return sum("error" not in row for row in rows)


def main() -> None:
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    torch.set_num_threads(1)
    backbone = load_backbone("micro", size=32)
    found: dict[str, list[dict[str, float]]] = {"eval": [], "predict": []}
    for _ in range(rounds):
        found["eval"].append(timed(lambda: evaluated(folder, backbone)))
        found["predict"].append(timed(lambda: answered(folder, backbone)))
    pairs = list(zip(found["predict"], found["eval"], strict=True))
    ratios = {
        "rate": [ours["rate"] / theirs["rate"] for ours, theirs in pairs],
        "processor": [theirs["processor"] / ours["processor"] for ours, theirs in pairs],
    }
    print(json.dumps({**found, "predict_over_eval": ratios}))


if __name__ == "__main__":
    main()
