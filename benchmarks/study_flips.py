"""Random bit flips in the files of a finished study: is each found, and does a figure change?

    python benchmarks/study_flips.py [--flips 100] [--seed N] [--page]

A small study is compared, its page written and an ensemble of it saved. Then, as often as asked,
one random bit of one of its files is flipped, each kind of file in turn, and the file is mended
after. found: `foldtune check` says that the study, or the ensemble, is not sound. A figure changes
unnoticed where a verb that reads (analyse, rank, ensemble; with --page the page, too, which takes
seconds a flip) neither refuses nor gives what it gave of the sound study. Prints one JSON line a
figure.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from _lines import Lines, add_results

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.errors import InputError
from foldtune.report.page import write_report
from foldtune.study.check import check
from foldtune.study.compare import compare
from foldtune.study.ensembles import save_ensemble
from foldtune.study.results.analyses import analyse
from foldtune.study.results.tasks import accuracies_by_label
from foldtune.training.recipe import Recipe


def main() -> None:
    """Flip and count."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--flips", type=int, default=100)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--page", action="store_true")
    add_results(options)
    asked = options.parse_args()
    seed = secrets.randbelow(10**9) if asked.seed is None else asked.seed
    warnings.simplefilter("ignore", RuntimeWarning)  # damaged rows are told
    lines = Lines("study_flips", asked)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        _made(home)
        told, kinds = _flipped(home, asked.flips, random.Random(seed), asked.page)
    more = {"seed": seed, "flips": asked.flips}
    lines.tell("found by check", told["found"], "flips", f"= {asked.flips}", kinds=kinds, **more)
    lines.tell("figures changed unnoticed", told["changed"], "flips", "= 0", **more)
    lines.tell("readers that refused", told["refused"], "calls", None, **more)


def _made(home: Path) -> None:
    data = load_data("digits", size=16, cache=home / "cache").few_shot(4)
    compare(
        data, load_backbone("micro", size=16), ("LinearProbe", "BitFit", "SSF"),
        out=home / "study", trials=2, seeds=2,
        recipe=Recipe(epochs=1, warmup_epochs=0.1, batch_size=32),
    )  # fmt: skip
    write_report(home / "study")
    save_ensemble(home / "study", home / "ensemble")


def _flipped(
    home: Path, flips: int, draw: random.Random, page: bool
) -> tuple[Counter[str], dict[str, int]]:
    """What became of the flips, and how many each kind of file got."""
    study, wanted = home / "study", {}
    readers: dict[str, Callable[[], object]] = {
        "analyse": lambda: analyse(study, draws=5),
        "rank": lambda: accuracies_by_label(study),
        "ensemble": lambda: save_ensemble(study, home / "again"),
    }
    if page:
        readers["page"] = lambda: write_report(study, out=home / "again.html").read_bytes()
    for name, read in readers.items():
        wanted[name] = _shown(read)
    kinds: dict[str, list[Path]] = {}
    for path in sorted(home.glob("study/**/*")) + sorted(home.glob("ensemble/*")):
        if path.is_file() and path.stat().st_size:
            kinds.setdefault(path.name if path.parent != home / "ensemble" else f"e{path.suffix}",
                             []).append(path)  # fmt: skip
    told: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    for number in range(flips):
        kind = list(kinds)[number % len(kinds)]
        path = draw.choice(kinds[kind])
        hit[kind] += 1
        sound = path.read_bytes()
        _flip(path, draw)
        told["found"] += _is_found(home, path)
        for name, read in readers.items():
            try:
                told["changed"] += _shown(read) != wanted[name]
            except InputError:
                told["refused"] += 1
        path.write_bytes(sound)
    return told, dict(hit)


def _shown(read: Callable[[], object]) -> str:
    return json.dumps(read(), sort_keys=True, default=repr)


def _is_found(home: Path, path: Path) -> bool:
    whole = home / path.relative_to(home).parts[0]
    try:
        return not check(whole).sound
    except InputError:  # as of an ensemble: refused by name
        return True


def _flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    bit = draw.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


if __name__ == "__main__":
    main()
