"""How the source is laid out: its rooms, its circles, its types, and how long its ways are.

    python benchmarks/tree.py [--types] [--ways]

- modules of the largest folder, methods/ aside, which is one file a method (`__init__` aside);
- circles: sets of modules that import each other, imports inside functions and for types too;
- with --types: modules in which mypy finds nothing that is not strict, and expressions typed Any;
- with --ways: the source files and functions that five journeys go through, at their first time:
  an image to a batch; a method's text to parameters; a run to a row; a row to the page; a tuning
  to a prediction.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1] / "src/foldtune"
LARGEST = 15
_APART = "methods"


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module below the package by its dotted name; a package is its `__init__`."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def flat(root: Path = ROOT) -> Counter[str]:
    """The number of modules that lie flat in each folder of the package."""
    return Counter(
        path.parent.relative_to(root.parent).as_posix()
        for path in root.rglob("*.py")
        if path.name != "__init__.py"
    )


def imports(path: Path, known: Mapping[str, Path]) -> set[str]:
    """The modules of the package that a module's import statements name, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in known else node.module for name in names}
    return found & known.keys()


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The sets of modules that reach each other, each sorted."""
    reached = {name: _reach(name, graph) for name in graph}
    found = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }
    return [list(circle) for circle in sorted(found)]


def import_graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Which modules import which; the package itself aside, whose names are resolved when used."""
    known = modules(root)
    whole = root.name
    return {n: imports(p, known) - {n, whole} for n, p in known.items() if n != whole}


def _reach(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = list(graph[name])
    while ahead:
        here = ahead.pop()
        if here not in seen:
            seen.add(here)
            ahead += graph[here]
    return seen


# -- types -----------------------------------------------------------------------------------------


def strict_modules(root: Path = ROOT) -> tuple[int, int, float]:
    """Modules without an error under mypy's `strict`, all, and % of expressions typed Any.

    Of the project's own settings only those count that say which libraries have no types.
    """
    project = tomllib.loads((root.parents[1] / "pyproject.toml").read_text())["tool"]["mypy"]
    kept = ("python_version", "untyped_calls_exclude", "ignore_missing_imports")
    shown = {k: ", ".join(v) if isinstance(v, list) else v for k in kept if (v := project.get(k))}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mypy.ini"
        lines = (f"{key} = {value}" for key, value in shown.items())
        config.write_text("\n".join(["[mypy]", "strict = True", *lines]))
        asked = ["--config-file", config, "--any-exprs-report", folder, "--cache-dir", folder]
        command = [sys.executable, "-m", "mypy", *asked, root]
        told = subprocess.run(command, capture_output=True, text=True, cwd=root.parents[1]).stdout
        total = (Path(folder) / "any-exprs.txt").read_text().splitlines()[-1].split()
    wrong = {line.split(":")[0] for line in told.splitlines() if ": error:" in line}
    known = len(modules(root))
    return known - len(wrong), known, 100 * int(total[1]) / int(total[2])


# -- ways ------------------------------------------------------------------------------------------


def way(journey: Callable[[], Any]) -> tuple[int, int]:
    """The source files and functions of the package that a call goes through."""
    files: set[str] = set()
    functions: set[tuple[str, int]] = set()

    def seen(frame: Any, event: str, _argument: object) -> None:
        code = frame.f_code
        inside = code.co_filename.startswith(str(ROOT)) and code.co_name != "<module>"
        if event == "call" and inside and not re.match("<(gen|list|dict|set|lam)", code.co_name):
            files.add(code.co_filename)
            functions.add((code.co_filename, code.co_firstlineno))

    sys.setprofile(seen)
    try:
        journey()
    finally:
        sys.setprofile(None)
    return len(files), len(functions)


def journeys(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each way by its name, to be gone in this order: the later ones use what the first left."""
    import torch

    import foldtune
    from foldtune.backbones.prepare import prepare_for
    from foldtune.core.attach import attach
    from foldtune.methods.catalogue import parse
    from foldtune.report.page import write_report
    from foldtune.study.bench.bench import Bench
    from foldtune.study.compare import compare
    from foldtune.training.batches import Data, epoch_batches
    from foldtune.training.recipe import Recipe
    from foldtune.tunings.predict import answer_of, predict_images
    from foldtune.tunings.tuning import open_tuning

    pictures = _pictures(folder / "pictures")
    backbone = foldtune.load_backbone("micro", size=16)
    recipe = Recipe(epochs=1, warmup_epochs=0.0, batch_size=4)
    data = foldtune.load_data(pictures, size=16, cache=folder / "cache")

    def batch() -> Any:
        read = foldtune.load_data(pictures, size=16, cache=folder / "other")
        train = Data(read.pixels, read.labels, read.split("train"))
        rows = next(epoch_batches(train.indices, recipe, 0, 0))
        images, _ = train.load(rows, torch.device("cpu"))
        return prepare_for(backbone, ("flip",))(images, torch.Generator())

    def parameters() -> None:
        attachment = attach(backbone, parse("LoRA(rank=2)"), num_classes=2)
        list(attachment.parameters())
        attachment.detach()

    def row() -> Any:
        bench = Bench(backbone, data)
        run = bench.describe("fit", parse("SSF()"), recipe, 0, head="regularised")
        return bench.execute(run, folder / "run")

    def prediction() -> Any:
        attachment, plain, header = open_tuning(folder / "run/tuning.safetensors")
        paths = [next(pictures.rglob("*.png"))]
        return list(predict_images(attachment, plain, paths, answer_of(header)))

    study = folder / "study"
    compare(data, backbone, ["SSF", "LoRA"], out=study, trials=1, seeds=1, recipe=recipe)
    yield "an image to a batch", batch
    yield "a method's text to parameters", parameters
    yield "a run to a row", row
    yield "a row to the page", lambda: write_report(study)
    yield "a tuning to a prediction", prediction


def _pictures(folder: Path) -> Path:
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for n in range(16):
            pixels = draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{n}.png")
    return folder


def main() -> None:
    from _lines import Lines, add_results

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--types", action="store_true", help="run mypy, half a minute")
    parser.add_argument("--ways", action="store_true", help="go the five ways, half a minute")
    add_results(parser)
    asked = parser.parse_args()
    lines = Lines("tree", asked)
    folders = flat()
    largest, count = next(x for x in folders.most_common() if not x[0].endswith(_APART))
    lines.tell("modules in the largest folder", count, "", f"<= {LARGEST}", folder=largest)
    lines.tell("modules", len(modules()), folders=len(folders))
    found = circles(import_graph())
    lines.tell("circles", len(found), "", "= 0", circles=found)
    if asked.types:
        good, known, vague = strict_modules()
        lines.tell("modules that are strict for mypy", good, f"of {known}")
        lines.tell("expressions typed Any", vague, "%")
    if asked.ways:
        with tempfile.TemporaryDirectory() as folder:
            for name, journey in journeys(Path(folder)):
                files, functions = way(journey)
                lines.tell(f"{name}: files", files)
                lines.tell(f"{name}: functions", functions)


if __name__ == "__main__":
    main()
