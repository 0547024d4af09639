"""Every notebook of docs/notebooks runs from top to bottom, as it stands."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from foldtune.methods import catalogue

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))


def cells(path, kind):
    told = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in told["cells"] if cell["cell_type"] == kind]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == [
        "first-study", "your-own-loop", "your-own-method",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    # The cells alone: a kernel costs seconds; benchmarks/first_hour.py runs them in Jupyter's.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    known, module = dict(catalogue()), ModuleType("notebook")  # pickle looks classes up by it
    monkeypatch.setitem(sys.modules, "notebook", module)
    try:
        with torch.random.fork_rng():
            for source in cells(path, "code"):
                exec(source, vars(module))
    finally:
        catalogue().clear()
        catalogue().update(known)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_output(path):
    told = json.loads(path.read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in told["cells"])
    assert cells(path, "markdown")[0].startswith("# ")
