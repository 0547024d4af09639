"""The study that kills.py stops: what it is of, how a process goes on with it, what it left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna  # noqa: F401  (imported here once, not in every process)
from PIL import Image

from foldtune.analysis.leaderboard import leaderboard
from foldtune.backbones import Backbone, load_backbone
from foldtune.data import ImageData, load_data
from foldtune.errors import InputError
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import InProcess
from foldtune.study.compare import compare
from foldtune.study.mend import broken_rows
from foldtune.study.results.store import Store
from foldtune.training.recipe import Recipe

ENDED, ODD, REFUSED, KILLED = 0, 1, 3, 9
METHODS = ("LinearProbe", "BitFit")
RECIPE = Recipe(epochs=2, warmup_epochs=0.2, batch_size=32, lr=3e-3)
_EACH = 12  # images a class
_CLOCK = {"seconds", "images_per_second"}
_write = os.write
_add, _execute = Store.add, Bench.execute


@dataclass(frozen=True, eq=False)
class Study:
    """images: class folders of pictures; cache: of these decoded; data: these loaded."""

    images: Path
    cache: Path
    backbone: Backbone
    data: ImageData

    def loaded(self) -> ImageData:
        """The images read as a new process reads them."""
        return load_data(self.images, size=16, cache=self.cache, workers=1).few_shot(2)


def study(root: Path) -> Study:
    """Some of scikit-learn's digits as files, so that there is an image to delete."""
    from sklearn.datasets import load_digits

    bunch, images = load_digits(), root / "images"
    for label in range(10):
        folder = images / str(label)
        folder.mkdir(parents=True)
        for number, grey in enumerate(bunch.images[bunch.target == label][:_EACH]):
            Image.fromarray((grey * 15).astype(np.uint8)).save(folder / f"{number}.png")
    backbone = load_backbone("micro", size=16)
    data = load_data(images, size=16, cache=root / "cache", workers=1).few_shot(2)
    return Study(images, root / "cache", backbone, data)


class Log:
    """What processes did with a study, noted by them as they do it, beside what is stored.

    faults: counts that `check` adds to.
    """

    def __init__(self, folder: Path, faults: dict[str, int]) -> None:
        self.folder, self.faults = folder, faults
        self.place = folder.with_suffix(".logs")
        self._processes = 0
        self._seen: dict[str, bytes] = {}

    def next(self) -> Path:
        """The file of the process that starts next: one grown by all would meet a limit of size."""
        self.place.mkdir(parents=True, exist_ok=True)
        self._processes += 1
        return self.place / f"{self._processes:05d}"

    def stored(self) -> int:
        """How many rows were stored."""
        return sum(line.startswith("stored") for line in self._lines())

    def check(self) -> None:
        """Compare what was done with what is stored."""
        store, stored = Store(self.folder), set()
        twice = set()
        for line in self._lines():
            what, run = line.split()
            if what == "stored":
                stored.add(run)
            elif run in stored:
                twice.add(run)
        self.faults["lost"] += sum(run not in store for run in stored)
        self.faults["twice"] += len(twice)
        self.faults["unbound"] += len(broken_rows(self.folder, store.rows()))
        for row in store.rows():
            content = json.dumps(row).encode()
            self.faults["changed"] += self._seen.setdefault(row["run"], content) != content

    def _lines(self) -> list[str]:
        files = sorted(self.place.iterdir()) if self.place.exists() else ()
        return [line for file in files for line in file.read_text().split("\n")[:-1]]


def fork(
    of: Study, log: Log, prepare: Callable[[], None], often: bool, *, load: bool = False,
    ray: bool = False,
) -> int:  # fmt: skip
    """The number of a new process that starts or goes on with the study.

    prepare: is called there first; often: a checkpoint after each epoch; load: the images are read
    there anew; ray: the runs are executed on a Ray cluster of its own.
    """
    noted = log.next()
    child = os.fork()
    if child:
        return child
    code = ODD
    try:
        _note(noted)
        Bench.checkpoint_seconds = 0.0 if often else Bench.checkpoint_seconds
        prepare()
        with _executor(ray) as executor:
            compare(
                of.loaded() if load else of.data, of.backbone, METHODS, out=log.folder, trials=2,
                seeds=1, recipe=RECIPE, head="zero", executor=executor,
            )  # fmt: skip
        code = ENDED
    except (InputError, OSError) as error:
        code = REFUSED
        _say(error)
    except BaseException as error:
        _say(error)
    finally:
        os._exit(code)


def _say(error: BaseException) -> None:
    with contextlib.suppress(OSError):
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _executor(ray: bool) -> Any:
    if not ray:
        return contextlib.nullcontext(InProcess)
    from foldtune.study.executors.on_ray import OnRay

    return OnRay(workers=2, threads=1)


def _note(path: Path) -> None:
    """Have the process note each run that it begins, and each whose row it has stored."""
    noted = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def execute(bench: Bench, run: Any, *more: Any, **named: Any) -> dict:
        _write(noted, f"begun {run.key}\n".encode())
        return _execute(bench, run, *more, **named)

    def add(store: Store, row: dict[str, Any]) -> None:
        _add(store, row)
        _write(noted, f"stored {row['run']}\n".encode())

    Bench.execute, Store.add = execute, add  # type: ignore[method-assign]


def result(folder: Path) -> dict[str, Any]:
    """All that a study found, but for what the clock decides."""
    rows = Store(folder).rows()
    files = {*folder.glob("merged.safetensors"), *folder.glob("runs/*/*.safetensors")}
    return {
        "rows": {row["run"]: _timeless(row) for row in rows},
        "leaderboard": _timeless(leaderboard(rows)),
        "files": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Which rows and files are other than wanted, and how such rows ended."""
    told = []
    for kind in ("rows", "files"):
        for name in sorted({*found[kind], *wanted[kind]}):
            if found[kind].get(name) != wanted[kind].get(name):
                row = found[kind].get(name)
                told.append(f"{name} {row.get('verdict') if isinstance(row, dict) else ''}".strip())
    return told


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _CLOCK}
    return [_timeless(v) for v in value] if isinstance(value, list) else value
