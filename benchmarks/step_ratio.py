"""A training step of this source over that of an earlier one, in turn, several processes of each.

    python benchmarks/step_ratio.py EARLIER [--pairs 8] [--rounds 24] [--cells vit:SSF() ...]

EARLIER: the `src` of another commit (`git worktree add ../earlier COMMIT`, then ../earlier/src).
A process keeps the memory that it happened to get, and two of one source differ by up to 10 %: so
each cell has `pairs` processes of either source, which take a step in turn, forth and back, by
processor time on one thread. A cell is the median over processes of their median steps, earlier
under now. Hosts are small ones, where what a method adds weighs most. A line a cell, then the
geometric mean.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from _lines import Lines, add_results

NOW = Path(__file__).parents[1] / "src"
HOSTS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_small_patch16_224", {"img_size": 96, "depth": 4}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 56, "window_size": 7, "depths": (2, 2, 1, 1)},
    ),
    "eva02": ("eva02_tiny_patch14_224", {"img_size": 98, "depth": 4}),
    "beit": (
        "beit_base_patch16_224",
        {"img_size": 96, "embed_dim": 192, "num_heads": 3, "depth": 4},
    ),
    "convnext": ("convnext_atto", {}),
}
METHODS = ("SSF()", "LoRA()", "BitFit()", "AdaptFormer()")
# ConvNeXt has no attention for LoRA's default targets, which the earlier source refuses.
CELLS = [f"{host}:{method}" for host in HOSTS for method in METHODS if host != "convnext"]
CELLS += ["convnext:SSF()", "convnext:BitFit()"]
_IMAGES, _CLASSES, _WARM = 4, 10, 3


def main() -> None:
    """Measure each cell; or, as one of the processes, take a step whenever told."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("earlier", type=Path)
    options.add_argument("--pairs", type=int, default=8)
    options.add_argument("--rounds", type=int, default=24)
    options.add_argument("--cells", nargs="+", default=CELLS, metavar="HOST:METHOD")
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    add_results(options)
    asked = options.parse_args()
    if asked.serve:
        serve(*asked.cells[0].split(":"))
        return
    lines, ratios = Lines("step_ratio", asked), []
    for cell in asked.cells:
        earlier, now = measured(cell, asked)
        ratios.append(statistics.median(now) / statistics.median(earlier))
        told = {"earlier_ms": sorted(earlier), "now_ms": sorted(now)}
        lines.tell(cell, ratios[-1], "of the earlier step", "<= 1.02", **told)
    mean = statistics.geometric_mean(ratios)
    lines.tell("geometric mean", mean, "of the earlier step", "<= 1.01", cells=len(ratios))


def measured(cell: str, asked: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Median milliseconds of a step, a process: those of the earlier source, those of this one."""
    processes = [
        started(source, cell) for _ in range(asked.pairs) for source in (asked.earlier, NOW)
    ]
    for process in processes:
        if heard(process) != "ready":
            sys.exit(f"{cell} cannot be attached by one of the two sources")
    steps: list[list[float]] = [[] for _ in processes]
    for turn in range(asked.rounds):
        order = range(len(processes))
        for i in order if turn % 2 == 0 else reversed(order):
            assert processes[i].stdin is not None
            processes[i].stdin.write("step\n")
            processes[i].stdin.flush()
            steps[i].append(1e3 * float(heard(processes[i])))
    for process in processes:
        process.communicate()
    medians = [statistics.median(each) for each in steps]
    return medians[0::2], medians[1::2]


def started(source: Path, cell: str) -> subprocess.Popen[str]:
    """A process that runs this file on that source."""
    environment = {**os.environ, "PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(source), "--serve", "--cells", cell]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def heard(process: subprocess.Popen[str]) -> str:
    """The next line that a process says, "" at its end."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def serve(host: str, method: str) -> None:
    """Say "ready", then the seconds of one training step for each line read."""
    warnings.simplefilter("ignore")
    import torch
    from torch.nn import functional as F

    import foldtune
    from foldtune.methods import parse

    foldtune.load_backbone("micro")  # torchvision's operators are declared before timm is imported
    import timm

    torch.set_num_threads(1)
    torch.manual_seed(0)
    name, settings = HOSTS[host]
    model = timm.create_model(name, num_classes=_CLASSES, **settings)
    side = settings.get("img_size", 96)
    images, labels = torch.rand(_IMAGES, 3, side, side), torch.arange(_IMAGES)
    attachment = foldtune.attach(model, parse(method), example=images[:2], seed=0)
    model.train()
    optimizer = torch.optim.SGD(attachment.parameters(), lr=1e-3)

    def step() -> float:
        began = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        return time.process_time() - began

    for _ in range(_WARM):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(step(), flush=True)


if __name__ == "__main__":
    main()
