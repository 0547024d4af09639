"""Last blocks tuned from cached features beside the same tuning of the whole model.

    python benchmarks/prefix.py [--images 256] [--epochs 10] [--model micro] [--count 2]

Random images. Prints the time of the training with the blocks below computed once (that pass
included) over that without, in processor time and on the clock, and the largest difference of
logits after both.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _lines import Lines, add_results
from torch import Tensor

from foldtune import attach, load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.judging.predict import predict_logits
from foldtune.methods import parse
from foldtune.training.loop import train
from foldtune.training.prefix import prefix_of
from foldtune.training.recipe import Recipe

CLASSES = 10


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--images", type=int, default=256)
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--model", default="micro")
    options.add_argument("--count", type=int, default=2)
    add_results(options)
    asked = options.parse_args()
    (whole, spent), (cut, saved) = (tuned(asked, cached) for cached in (False, True))
    facts = {"model": asked.model, "images": asked.images, "epochs": asked.epochs}
    Lines("prefix", asked).tell(
        f"LastBlocks(count={asked.count}), cached / whole", saved[1] / spent[1], "ratio",
        processor_ratio=saved[0] / spent[0],
        largest_difference=float((whole - cut).abs().max()), **facts,
    )  # fmt: skip


def tuned(asked: argparse.Namespace, cached: bool) -> tuple[Tensor, tuple[float, float]]:
    """Logits after the training, and its processor time and seconds."""
    backbone = load_backbone(asked.model, pretrained=asked.model == "micro")
    draw, side = np.random.default_rng(0), backbone.transform.size
    pixels = draw.integers(0, 256, (asked.images, side, side, 3), dtype=np.uint8)
    labels, rows = draw.integers(0, CLASSES, asked.images), np.arange(asked.images)
    recipe = Recipe(epochs=asked.epochs, warmup_epochs=0.1 * asked.epochs, lr=1e-4)
    method = parse(f"LastBlocks(count={asked.count})")
    attachment = attach(backbone, method, num_classes=CLASSES, seed=0)
    model, plain = attachment.model, prepare_for(backbone)
    blocks = [site.path for site in attachment.sites if site.role == "block"]
    train(model, pixels[:64], labels[:64], rows[:64], Recipe(epochs=1, warmup_epochs=0.0, lr=1e-5),
          prepare=plain, seed=0)  # fmt: skip
    processor, clock = time.process_time(), time.perf_counter()
    if cached:
        prefix = prefix_of(model, blocks, recipe, backbone.example(), asked.images)
        if prefix is None:
            raise SystemExit(f"{asked.model} cannot be cut")
        table = prefix.table(pixels, rows, plain)
        with prefix.install():
            train(model, table, labels, rows, recipe, prepare=prefix.prepare, seed=0)
    else:
        train(model, pixels, labels, rows, recipe, prepare=plain, seed=0)
    seconds = time.process_time() - processor, time.perf_counter() - clock
    return predict_logits(model, pixels, rows[:64], plain), seconds


if __name__ == "__main__":
    main()
