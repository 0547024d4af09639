"""Images per second: decoding into the store, beside torchvision's ImageFolder and DataLoader.

    python benchmarks/decode.py [--images 2400] [--size 224] [--source FOLDER] [--rounds 3]

Without --source, JPEGs of 500 x 375 pixels are made in ten class folders. The same files are
squashed to --size by both, into uint8, in turn, and in the opposite order in every other round.
Prints one JSON line a figure:
- store_1, store_N: foldtune with one process and with one a core;
- loader_0, loader_N: DataLoader with no worker and with one a core, one epoch in file order;
- ..._cpu: processor time an image of each, of all processes, which other programs hardly change;
- cores_gain: store_N by store_1, the median of the rounds' ratios; cores_gain_by_cpu: what the
  processor times allow on idle cores, time here + time in the processes / cores;
- to_loader: store_N by loader_N, the median of the rounds' ratios;
- store_again: batches of 64 out of the store, shuffled, as every later epoch and run reads them;
- stream_first_batch: seconds until a stream gives its first batch of 64;
- train_store_to_memory: CPU time of an epoch from the store by one from tensors in memory, a small
  ViT, taken in turn: the median over rounds.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foldtune  # noqa: F401  isort: skip  (torchvision needs its operators declared)

import numpy as np
import torch
from _lines import Lines, add_results
from PIL import Image

from foldtune.augment.batch import to_float
from foldtune.data import load_data
from foldtune.data.streaming import stream_data
from foldtune.processes import cores
from foldtune.torchvision_ops import declare_missing_operators
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe

BATCH = 64
AIMS = {"cores_gain": ">= 1.8", "train_store_to_memory": ">= 0.95"}
LINES: Lines  # made by main
_DISTINCT = 100  # photographs; the time to decode does not know that they come again


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--images", type=int, default=2400)
    options.add_argument("--size", type=int, default=224)
    options.add_argument("--source", type=Path)
    options.add_argument("--rounds", type=int, default=5)
    add_results(options)
    asked = options.parse_args()
    global LINES
    LINES = Lines("decode", asked)
    with tempfile.TemporaryDirectory() as folder:
        source = asked.source or make_photos(Path(folder) / "photos", asked.images)
        measure(source, asked.size, asked.rounds, Path(folder))


def make_photos(root: Path, count: int) -> Path:
    """JPEGs with the detail of photographs, noise at several scales: a hundred, then again."""
    random = np.random.default_rng(0)
    files: list[bytes] = []
    for number in range(count):
        if len(files) < _DISTINCT:
            files.append(photo(random))
        path = root / f"class{number % 10}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[number % _DISTINCT])
    return root


def photo(random: np.random.Generator) -> bytes:
    """One JPEG of 500 x 375 pixels."""
    layers = [random.normal(128, 60 / (k + 1), (3 * 2**k, 4 * 2**k, 3)) for k in range(7)]
    images = [
        np.asarray(Image.fromarray(np.clip(layer, 0, 255).astype(np.uint8)).resize((500, 375)))
        for layer in layers
    ]
    file = io.BytesIO()
    Image.fromarray(np.mean(images, axis=0).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def measure(source: Path, size: int, rounds: int, folder: Path) -> None:
    """Print every figure."""
    data = load_data(source, size=size, cache=folder / "store")
    decoding(source, size, len(data.labels), rounds, folder)
    order = np.random.default_rng(0).permutation(len(data.labels))
    chunks = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    spent = timed(lambda: [data.pixels[rows].sum() for rows in chunks])
    tell("store_again", len(order) / spent.wall, "images/s, each byte read once")
    streamed = stream_data(source, size=size, cache=folder / "stream")
    spent = timed(lambda: streamed.pixels[order[:BATCH]])
    tell(
        "stream_first_batch",
        spent.wall,
        f"s, {streamed.pixels.count_decoded()} images decoded then",
    )
    streamed.pixels.close()
    tell("train_store_to_memory", training_ratio(data, rounds), f"median of {rounds} rounds")


def decoding(source: Path, size: int, images: int, rounds: int, folder: Path) -> None:
    """Decode all images by each way in turn, and tell the medians and the ratios."""
    many = cores()

    def store(workers: int) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            load_data(source, size=size, cache=Path(cache), workers=workers)

    ways: dict[str, Callable[[], object]] = {
        "store_1": lambda: store(1),
        f"store_{many}": lambda: store(many),
        "loader_0": lambda: loader_epoch(source, size, 0),
        f"loader_{many}": lambda: loader_epoch(source, size, many),
    }
    spent: dict[str, list[Spent]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in sorted(ways, key=list(ways).index, reverse=bool(number % 2)):
            spent[way].append(timed(ways[way]))
    for way, each in spent.items():
        tell(way, images / statistics.median(one.wall for one in each), "images/s")
        busy = statistics.median(one.here + one.elsewhere for one in each)
        tell(f"{way}_cpu", 1000 * busy / images, "ms of processor time an image")
    one, all_of_them, loader = (spent[w] for w in ("store_1", f"store_{many}", f"loader_{many}"))
    tell("cores_gain", middle(one, all_of_them, lambda s: s.wall), f"with {many} cores")
    ideal = middle(one, all_of_them, lambda s: s.here + s.elsewhere / many)
    tell("cores_gain_by_cpu", ideal, f"what {many} idle cores would give")
    tell("to_loader", middle(loader, all_of_them, lambda s: s.wall), "times the loader's speed")


def middle(slow: list[Spent], fast: list[Spent], time_of: Callable[[Spent], float]) -> float:
    """The median of the rounds' ratios of two times."""
    return statistics.median(time_of(a) / time_of(b) for a, b in zip(slow, fast, strict=True))


def loader_epoch(source: Path, size: int, workers: int) -> None:
    """One epoch of ImageFolder and DataLoader, in file order."""
    declare_missing_operators()
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import InterpolationMode, v2

    squash = v2.Resize((size, size), interpolation=InterpolationMode.BICUBIC)
    images = ImageFolder(str(source), v2.Compose([squash, v2.PILToTensor()]))
    for _ in torch.utils.data.DataLoader(images, batch_size=BATCH, num_workers=workers):
        pass


def training_ratio(data: Any, rounds: int) -> float:
    """CPU time of an epoch from the store by that of one from memory.

    CPU time, since other processes of a shared machine change the wall time by more than this.
    """
    declare_missing_operators()
    import timm

    size = data.pixels.shape[1]
    rows = data.split("train")[: 8 * BATCH]
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=size, num_classes=len(data.classes), depth=2
    )
    recipe = Recipe(epochs=1, batch_size=BATCH, warmup_epochs=0.0, min_lr=0.0, lr=1e-6)
    kinds = {"store": data.pixels, "memory": np.array(data.pixels)}
    ratios = []
    for number in range(rounds + 1):
        seconds = {}
        for kind in sorted(kinds, reverse=bool(number % 2)):
            begun = time.process_time()
            train(
                model, kinds[kind], data.labels, rows, recipe, seed=0,
                prepare=lambda b, _: to_float(b, (0.5,) * 3, (0.5,) * 3),
            )  # fmt: skip
            seconds[kind] = time.process_time() - begun
        ratios.append(seconds["store"] / seconds["memory"])
    return statistics.median(ratios[1:])  # the first round warms up


@dataclass(frozen=True)
class Spent:
    """Seconds: on the clock, of processor time in this process, and in those it started."""

    wall: float
    here: float
    elsewhere: float


def timed(call: Callable[[], object]) -> Spent:
    def clocks() -> np.ndarray:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        children = spent.ru_utime + spent.ru_stime
        return np.array([time.perf_counter(), time.process_time(), children])

    begun = clocks()
    call()
    return Spent(*(clocks() - begun).tolist())


def tell(figure: str, value: float, unit: str) -> None:
    LINES.tell(figure, value, unit, AIMS.get(figure))


if __name__ == "__main__":
    main()
