"""What a GPU gives: first that all is right on it, then one table of training speeds.

    sh benchmarks/gpu.sh [--results] [--model vit_base_patch16_224] [--batch 128] [--seconds 340]

Checks, of `micro` at 32 pixels (_gpu_checks.py): float32 against the CPU, half precision against
float32, merged against attached, resumed against undisturbed, compiled against plain, steps as CUDA
graphs against plain ones, waits for the device in a step. Then a table: methods by (plain, compiled
block by block; the first two also with what is frozen in bfloat16, and as CUDA graphs), HF PEFT's
LoRA and all of timm's model likewise, with images a second, their ratio to HF PEFT's, the share of
the peak of a matrix product that is measured first, and the memory beyond what is held between
steps. Then what a study is made of: trainings of `micro` a minute, one after the other, as CUDA
graphs and as one stack. What does not fit into --seconds is left out, and told. --toy: all of it at
the smallest size, on a CPU too, where a tape stands for the graphs.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from typing import Any

import torch
from _gpu_checks import check_all, told_once
from _gpu_studies import runs_a_minute
from _lines import Lines, add_results
from _ways import (
    COMPILED,
    FULL,
    GRAPHED,
    NARROW,
    NARROW_COMPILED,
    PEFT,
    PLAIN,
    RANK,
    Way,
    add_round,
    refuse_uncompiled,
    way_of,
)

from foldtune.errors import InputError
from foldtune.judging.cost import wait
from foldtune.testing.tape import recorded_on_the_cpu
from foldtune.training.device import check_precision, parse_device, tensor_float
from foldtune.training.speed.blocks import many_graphs
from foldtune.training.speed.graphs import WARM

LORA = f"LoRA(rank={RANK})"
METHODS = (LORA, "SSF", "BitFit", "AdaptFormer(rank=8)", "VPTDeep")
# Of one figure over another's, both plain or both compiled.
AIMS = {(LORA, PLAIN): ">= 1.5", (LORA, COMPILED): ">= 1.15"}
# Seconds that one more compiled way may take, and that rounds and studies need in the end.
_COMPILING, _REST = 45.0, 70.0


def main() -> None:
    """Check, measure and print; exit code 1 where a check missed its bound."""
    asked = _asked()
    faulthandler.dump_traceback_later(asked.seconds + 20, exit=True)
    device = torch.device(asked.device)
    refuse_uncompiled()
    lines = Lines("gpu", asked, asked.device)
    until = time.monotonic() + asked.seconds
    with many_graphs(), recorded_on_the_cpu():
        wrong = check_all(lines, asked, device)
        with tensor_float(asked.precision == "tf32"):
            peak = _peak(lines, asked, device)
            ways = _ways(asked, device, until, wrong)
            for number in range(asked.rounds):
                if number and time.monotonic() > until - _REST / 2:
                    break
                for way in ways.values():
                    add_round(way, asked.steps, asked.batch, device)
    table = [_told(lines, name, how, ways, asked, peak) for name, how in ways]
    ways.clear()
    try:
        with recorded_on_the_cpu():
            runs_a_minute(lines, asked, until)
    except Exception as error:
        wrong.append(f"trainings of micro died of {told_once(error)}")
    print("\n".join(["", f"| {' | '.join(table[0])} |", "|" + "---|" * len(table[0])]))
    print("\n".join(f"| {' | '.join(row.values())} |" for row in table), flush=True)
    faulthandler.cancel_dump_traceback_later()
    if wrong:
        sys.exit("\n".join(["beyond their bound, or dead:", *wrong]))


def _asked() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--device", default=None, help="cuda by default, cpu with --toy")
    options.add_argument("--model", default="vit_base_patch16_224")
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--methods", nargs="+", default=METHODS)
    options.add_argument("--precision", default="bf16")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--steps", type=int, default=10, help="of a round")
    options.add_argument("--seconds", type=float, default=340.0, help="for everything")
    options.add_argument("--toy", action="store_true")
    options.add_argument("--backend", default=None, help="of torch.compile")
    add_results(options)
    asked = options.parse_args()
    asked.device = asked.device or ("cpu" if asked.toy else "cuda")
    asked.backend = asked.backend or ("eager" if asked.toy else "inductor")
    if asked.toy:
        asked.model, asked.batch, asked.rounds, asked.steps = "micro", 2, 1, 1
        asked.methods = METHODS[1:2]
    try:
        check_precision(asked.precision, parse_device(asked.device) or torch.device("cpu"))
    except InputError as error:
        if not asked.toy:
            sys.exit(str(error))
        asked.precision = "fp32"
    return asked


def _peak(lines: Lines, asked: Any, device: torch.device) -> float:
    """Operations a second of a matrix product in half precision (float32 where none is asked)."""
    side, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (256, torch.float32)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    wait(device)
    started = time.perf_counter()
    for _ in range(20):
        a @ b
    wait(device)
    peak = 20 * 2 * side**3 / (time.perf_counter() - started)
    lines.tell(f"peak of a product, {side} x {side}", peak / 1e12, "10^12/s", dtype=str(dtype))
    return peak


def _ways(
    asked: Any, device: torch.device, until: float, wrong: list[str]
) -> dict[tuple[str, str], Way]:
    """Each made and warmed up, the most telling first; those left out for want of time are told,
    and those that died are among `wrong`."""
    first, rest = asked.methods[:2], asked.methods[2:]
    narrow = first if asked.precision == "bf16" else ()
    asked_for = [
        *((text, PLAIN) for text in (*first, PEFT, FULL, *rest)),
        *((text, NARROW) for text in narrow),
        *((text, GRAPHED) for text in (first if asked.precision != "fp16" else ())),
        *((text, COMPILED) for text in (*first, PEFT, FULL)),
        *((text, NARROW_COMPILED) for text in narrow),
        *((text, COMPILED) for text in rest),
    ]
    ways: dict[tuple[str, str], Way] = {}
    for text, how in asked_for:
        longest = _COMPILING if how in (COMPILED, NARROW_COMPILED) else 0.0
        if time.monotonic() + _REST + longest > until and ways:
            print(f"left out for want of time: {text}, {how or 'plain'}", file=sys.stderr)
            continue
        started = time.monotonic()
        try:
            way = way_of(text, how, asked, device)
            for _ in range(WARM + 1 if how == GRAPHED else 2):
                way.step()
            wait(device)
        except Exception as error:
            wrong.append(f"{text}, {how or 'plain'} died of {told_once(error)}")
            continue
        ways[text, how] = way
        print(f"# {text} {how}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return ways


def _told(
    lines: Lines, name: str, how: str, ways: dict[tuple[str, str], Way], asked: Any, peak: float
) -> dict[str, str]:
    """One way's line, and its row of the table."""
    way, memory = ways[name, how], None
    # Theirs and all of a model are not narrowed: the same without stands beside it.
    like = {NARROW: PLAIN, NARROW_COMPILED: COMPILED, GRAPHED: PLAIN}.get(how, how)
    facts: dict[str, Any] = {"share_of_peak": way.share(peak)}
    for key, text, of in (("over_full", FULL, like), ("over_lora", LORA, how)):
        if (text, of) in ways:
            facts[key] = way.over(ways[text, of])
    if (name, PLAIN) in ways and how:
        facts["over_plain"] = way.over(ways[name, PLAIN])
    if asked.device.startswith("cuda"):
        facts["memory_mib"] = memory = way.memory / 2**20
    peer = way.over(ways[PEFT, like]) if (PEFT, like) in ways else None
    lines.tell(
        f"{name}{how and f', {how}'}: images a second", way.speed, "1/s", **facts,
        over_peft=peer, model=asked.model, batch=asked.batch, precision=asked.precision,
    )  # fmt: skip
    if peer is not None and name == LORA and not asked.toy:
        lines.tell(
            f"{name}{how and f', {how}'}: over HF PEFT's", peer, "ratio", AIMS[name, like],
            model=asked.model, batch=asked.batch, precision=asked.precision,
        )  # fmt: skip
    return {
        "method": name, "how": how or "plain", "images/s": f"{way.speed:.4g}",
        "over HF PEFT": "" if peer is None else f"{peer:.3g}",
        "over full": f"{facts['over_full']:.3g}" if "over_full" in facts else "",
        "share of peak": f"{facts['share_of_peak']:.3g}",
        "memory, MiB": "" if memory is None else f"{memory:.0f}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
