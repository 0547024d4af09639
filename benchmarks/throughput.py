"""Training in images a second: our methods, HF PEFT's LoRA, and all of timm's plain model.

    python benchmarks/throughput.py --device cuda --model vit_base_patch16_224 --batch 128 \\
        --precision bf16 --compile --peak 989

The steps are those of `_ways.py`. All ways take turns; a line each, with images a second over those
of the plain model and of PEFT's, the largest memory beyond what the models hold (on a GPU), and
with --peak, the device's trillions of operations a second at that precision, the share of it that
the counted operations of forward and backward are. With --compile (block by block, as `foldtune
--compile` does) or --channels-last every way is taken so as well, with images a second over those
of the same way without.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

import torch
from _lines import Lines, add_results
from _ways import (
    CHANNELS_LAST,
    COMPILED,
    FULL,
    PEFT,
    PLAIN,
    RANK,
    Way,
    add_round,
    refuse_uncompiled,
    way_of,
)

from foldtune.errors import InputError
from foldtune.startup import keep_freed_memory
from foldtune.training.device import check_compiler, check_precision, tensor_float
from foldtune.training.recipe import PRECISIONS
from foldtune.training.speed.blocks import many_graphs


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--model", default="micro")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--methods", nargs="+", default=("SSF", f"LoRA(rank={RANK})", "BitFit"))
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", choices=PRECISIONS, default="fp32")
    options.add_argument("--compile", action="store_true")
    options.add_argument("--channels-last", action="store_true")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--steps", type=int, default=10, help="of a round")
    options.add_argument("--peak", type=float, help="10^12 operations a second of the device")
    add_results(options)
    asked = options.parse_args()
    device = torch.device(asked.device)
    check_precision(asked.precision, device)
    if asked.compile:
        check_compiler(device)
        refuse_uncompiled()
    lines = Lines("throughput", asked, asked.device)
    keep_freed_memory()  # as the command line does
    with tensor_float(asked.precision == "tf32"), many_graphs():
        ways = _ways(asked, device)
        for way in ways.values():
            way.step()
            way.step()
        for _ in range(asked.rounds):
            for way in ways.values():
                add_round(way, asked.steps, asked.batch, device)
    for (name, how), way in ways.items():
        facts: dict[str, Any] = {"images_per_second": way.speed}
        if (PEFT, PLAIN) in ways:
            facts["over_peft"] = way.over(ways[PEFT, PLAIN])
        if how:
            facts["over_plain"] = way.over(ways[name, PLAIN])
        if device.type == "cuda":
            facts["memory_mib"] = way.memory / 2**20
        if asked.peak:
            facts["share_of_peak"] = way.share(asked.peak * 1e12)
        figure = f"{name}{how and f', {how}'}: images a second over {FULL}"
        lines.tell(
            figure, way.over(ways[FULL, PLAIN]), "ratio", **facts,
            model=asked.model, batch=asked.batch, precision=asked.precision,
        )  # fmt: skip


def _ways(asked: Any, device: torch.device) -> dict[tuple[str, str], Way]:
    """By the names of what is trained and of how: plainly, compiled, or channels last."""
    hows = (PLAIN, *[COMPILED] * asked.compile, *[CHANNELS_LAST] * asked.channels_last)
    ways: dict[tuple[str, str], Way] = {}
    for how in hows:
        for text in (*asked.methods, FULL, PEFT):
            # A host without attention has no place for HF PEFT's.
            with contextlib.suppress(InputError) if text == PEFT else contextlib.nullcontext():
                ways[text, how] = way_of(text, how, asked, device)
    return ways


if __name__ == "__main__":
    main()
