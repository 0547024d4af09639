"""Every example in a docstring gives what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

import foldtune

ROOT = Path(foldtune.__file__).parent
WITH_EXAMPLES = [
    ".".join(("foldtune", *path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def test_they_are_found():
    assert len(WITH_EXAMPLES) > 8


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_hold(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
