"""Write docs/performance.md from benchmarks/results: the latest of each figure, model and device.

    python benchmarks/performance_page.py [--check]

--check: write nothing, and fail where the page is not what the results give.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results", ROOT / "docs/performance.md"

Line = dict[str, Any]

# What each benchmark measures, how, and against whom, in the order of the page.
ABOUT = {
    "end_to_end": "A whole tuning of image files with LoRA, from decoding to the saved tuning: "
    "beside its bare training steps on batches that lie in memory, and beside a script by hand "
    "(timm's VisionTransformer, HF PEFT, torchvision's transforms, a DataLoader with two workers "
    "that decodes in every epoch) with the same weights, rank, rates and epochs.",
    "step_time": "A training step (zero_grad, forward, loss, backward, AdamW) over a forward pass "
    "without gradients of the plain model on the same batch, timed in the same round. The floor "
    "is 2: a forward pass, and a backward pass to the inputs of every layer. `floor` trains one "
    "bias below the first block: the host's own backward pass alone. `processor ratio` is of "
    "processor time, which cores taken by other machines hardly change; `counted` is of "
    "operations.",
    "step_ratio": "A training step over the same step of an earlier commit, by processor time, in "
    "turn; several processes of each, since a process keeps the memory that it happened to get.",
    "against_peft": "A LoRA step of ours over HF PEFT's on the same timm model with the same "
    "factors, timed in turn; the activations that autograd keeps on either side, counted.",
    "throughput": "Training with a batch that lies on the device, cropped, flipped and normalised "
    "in the step: images a second over those of timm's plain model, trained whole in the same "
    "steps (full by hand); `over peft` is over HF PEFT's LoRA, `over plain` over the same way "
    "neither compiled nor channels last. All ways take turns.",
    "gpu": "`benchmarks/gpu.sh`, on a GPU: that it computes what the CPU does, then training in "
    "images a second, ways in turn, plain and compiled block by block, over HF PEFT's LoRA taken "
    "likewise; the share of the measured peak of a matrix product; trainings of micro a minute.",
    "merged": "The forward pass of a merged model over the plain backbone's, timed in turn, plain "
    "first in every other round.",
    "mixed": "A batch of eight tasks over one backbone beside a batch of one task: images a "
    "second, timed in the same round.",
    "probe_grid": "64 linear probes (eight rates, eight decays) trained as one stack on cached "
    "features, with the pass that makes the features, over that pass alone; and the same probes "
    "one after the other.",
    "stacked": "Trials of one method that differ in rates and decay, one after the other, over the "
    "same trials as one stack; `counted` is the same in operations, by which a study decides "
    "(`stacked`). A study's rows follow one another, not in turn.",
    "prefix": "Tuning of the last blocks from features of the frozen blocks below, computed once, "
    "over the same tuning of the whole model.",
    "startup": "From the start of the process to its end, the files in the disk's cache.",
    "decode": "Decoding into the store and reading from it, beside torchvision's ImageFolder and "
    "DataLoader on the same files.",
    "checking": "A study over a warm store whose rows are hashed at their first use over the same "
    "study on the bare file, by processor time, in turn, the store opened anew each time.",
    "bit_flips": "Random bits flipped in the files of store and stream, each followed by a reading "
    "of every image through training's batch loader.",
    "chaos": "How far the logits of two trainings end apart that start, or step, a rounding apart, "
    "beside those of another seed; largest differences, on noise and on test images.",
    "executors": "Runs by other processes and by Ray beside the same runs here, and what the "
    "engine adds to the training it runs.",
    "halving": "Successive halving beside the full grid.",
    "open_store": "A study of many rows: opening it (every checksum is looked at), claiming it, "
    "adding a row.",
    "kills": "Studies stopped at random moments (killed, within a write or artefact; a full "
    "disk; a jumping clock; two drivers; cache or image deleted; Ray workers killed), and run "
    "again until they end.",
    "page": "The report of a large made-up study: made, and opened in Chromium started anew, "
    "beyond what an empty page takes.",
    "analysis_speed": "The analyses of a large made-up study.",
}
# Why an aim was missed, by benchmark and the start of the figure's name.
WHY = {
    (
        "step_time",
        "",
    ): "by processor time the host's own backward pass takes 2.2 with torch's kernels "
    "(`floor`), since attention, norms and GELU cost more backward than forward; what the methods "
    "add is small.",
    ("halving", "LoRA on flowers12"): "four of its 145 validation images; a rung of two epochs "
    "hardly tells its 18 configurations apart; two drawn blindly lose 2.0 points.",
    ("end_to_end", "ours / bare"): "the aim is of 100 epochs; with eight, what is paid once "
    "(decoding, validation, test, saving) weighs more.",
    (
        "gpu",
        "LoRA",
    ): "both sides spend their time in the same places. By torch's profiler, of 29 ms "
    "that the device works in a step (compiled, frozen tensors in bfloat16), matrix products of "
    "the host take 13, attention 5, GELU 3, the low-rank products 3; in HF PEFT's compiled step "
    "the first three take the same.",
    ("mixed", ""): "vmap's own calls, in Python, take as long for few images as for many.",
    ("merged", ""): "the merged model is the plain one with other numbers; the range of the "
    "rounds is far wider than what is missed.",
}
# How far what is built for a GPU is proven beyond the figures of `gpu.sh`; by hand.
ON_A_GPU = """## On a GPU

`sh benchmarks/gpu.sh` was run whole once, on an H200 (16 cores, torch 2.11, 258 s): every check
held. It found two faults that no CPU had shown: SSF's kernel did not compile (its interpreter takes
what the compiler refuses; a test compiles it now), and AdaptFormer read another tensor where blocks
are compiled (a check of every method now).

- SSF as it is reaches 0.71 of LoRA and 0.85 of training all of the model: Python's launches bound
  it (61 ms a step, of which the device worked 45, before some were saved: 58). Compiled it is
  faster than all of the model compiled (1.09, with frozen tensors in bfloat16 1.12) and has 0.85 of
  LoRA's speed and 1.05 of its memory. So on a GPU: `--compile`, best with `--precision bf16-kept`.
- `--cuda-graphs`: trainings of micro four times as fast; a stack of 64, 25 times. SSF's recorded
  steps computed another formula when they were measured (1,487 images a second, half of LoRA's):
  they fold scales into weights now, as eager ones do, and were not measured since.
- Not run on a GPU: `throughput.py`, `step_time.py`, `merged.py`, `mixed.py`, `probe_grid.py`, which
  take `--device cuda`; the speed of AdaptFormer compiled; passes of as many images as fit
  after the memory ran out (a stand-in runs out); `--recompute`."""
# Lines that differ in these are different figures.
_APART = ("figure", "device", "model", "batch", "epochs", "threads", "precision")
_SHOWN = ("lowest", "highest")
_HIDDEN = {
    "benchmark", "figure", "value", "unit", "aim", "met", "device", "threads", "cores",
    "load_before", "versions", "command", "date", *_SHOWN,
}  # fmt: skip


def latest(folder: Path) -> dict[str, list[Line]]:
    """The last line of each figure, device and size, by benchmark, in the order of coming."""
    found: dict[str, list[Line]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        lines: dict[tuple[Any, ...], Line] = {}
        for text in file.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            lines[tuple(line.get(fact) for fact in _APART)] = line
        if lines:
            found[file.stem] = list(lines.values())
    return found


def page(found: dict[str, list[Line]]) -> str:
    """The page as text."""
    everything = [line for lines in found.values() for line in lines]
    parts = [
        "# Performance",
        "Written by `python benchmarks/performance_page.py` from `benchmarks/results`, the latest "
        "line of each figure; only the reasons for misses are written by hand. "
        "`python benchmarks/all.py` measures again what is here. A ratio has the median over "
        "rounds, with the lowest and the highest where there were several.",
        _machines(everything),
        _missed(found),
    ]
    parts += [_section(name, found[name]) for name in ABOUT if name in found]
    parts.append(ON_A_GPU)
    absent = [f"`benchmarks/{name}.py`" for name in ABOUT if name not in found]
    if absent:
        parts.append(f"## Not measured yet\n\n{', '.join(absent)}.")
    return "\n\n".join(parts) + "\n"


def _machines(lines: list[Line]) -> str:
    devices = sorted({line["device"] for line in lines})
    if not devices:
        return "Nothing has been measured yet."
    cores = sorted({line["cores"] for line in lines})
    loads = [line["load_before"] for line in lines]
    return (
        f"Measured on: {'; '.join(devices)}, with {' or '.join(map(str, cores))} cores. The "
        f"machine's load before a measurement was {min(loads)} to {max(loads)} (idle is 0); above "
        "1 something was at work, be it the measurement before, and a clock's figure is worth less."
    )


def _missed(found: dict[str, list[Line]]) -> str:
    judged = [line for lines in found.values() for line in lines if line["met"] is not None]
    missed = [line for line in judged if not line["met"]]
    text = f"## Aims\n\n{len(judged) - len(missed)} of {len(judged)} figures with an aim reach it."
    reasons: dict[str, list[str]] = {}
    for line in missed:
        named = f"{_name(line)}: {_number(line['value'])}, the aim {line['aim']}"
        reasons.setdefault(_reason(line), []).append(named)
    if missed:
        text += " Missed:\n\n" + "\n".join(
            f"- {'; '.join(names)}. Why: {reason}" for reason, names in reasons.items()
        )
    return text


def _reason(line: Line) -> str:
    for (benchmark, start), reason in WHY.items():
        if line["benchmark"] == benchmark and line["figure"].startswith(start):
            return reason
    if line["load_before"] > 1:
        return f"begun at a load of {line['load_before']}; why is not known yet."
    return "why is not known yet."


def _name(line: Line) -> str:
    model = line.get("model", "")
    size = f" of {model}" if model not in line["figure"] else ""
    size += f" with {line['batch']} images" if "batch" in line else ""
    size += f", {line['epochs']} epochs" if "epochs" in line else ""
    threads = f" on {line['threads']} thread{'s' * (line['threads'] > 1)}"
    return f"{line['benchmark']}, {line['figure']}{size}{threads}"


def _section(name: str, lines: list[Line]) -> str:
    rows = [
        "| figure | value | range | aim | what else | threads, load | date |",
        "|---|---|---|---|---|---|---|",
        *map(_row, lines),
    ]
    commands = dict.fromkeys(line["command"] for line in lines)
    versions = dict.fromkeys(_versions(line) for line in lines)
    told = "\n".join(f"`{command}`" for command in commands)
    body = "\n".join(rows)
    return f"## {name}\n\n{ABOUT[name]}\n\n{body}\n\n{told}  \n{'; '.join(versions)}"


def _row(line: Line) -> str:
    spread = " to ".join(_number(line[k]) for k in _SHOWN if line.get(k) is not None)
    more = ", ".join(
        f"{key.replace('_', ' ')} {_number(value)}"
        for key, value in line.items()
        if key not in _HIDDEN and not isinstance(value, (dict, list))
    )
    aim = "" if line["aim"] is None else f"{line['aim']} {'✓' if line['met'] else '✗'}"
    unit = "" if line["unit"] == "ratio" else f" {line['unit']}"
    where = f"{line['threads']}, {line['load_before']}"
    if line["device"].startswith("cuda"):
        where = line["device"]
    cells = (line["figure"], f"{_number(line['value'])}{unit}", spread, aim, more, where)
    return "| " + " | ".join([*cells, line["date"][:10]]) + " |"


def _versions(line: Line) -> str:
    return ", ".join(f"{name} {number}" for name, number in line["versions"].items())


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def main() -> None:
    """Write the page, or compare it."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--check", action="store_true")
    asked = options.parse_args()
    text = page(latest(RESULTS))
    if not asked.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        sys.exit("docs/performance.md is old; python benchmarks/performance_page.py")


if __name__ == "__main__":
    main()
