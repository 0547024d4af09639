"""Imports go down only, none goes in a circle, and no room is a warehouse."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import foldtune

ROOT = Path(foldtune.__file__).parent
FLOORS = (
    (
        *("errors", "torchvision_ops", "processes", "console", "shown", "files", "gate"),
        *("startup", "options"),
    ),
    ("core",),
    ("methods", "tasks"),
    ("training", "judging", "backbones", "data", "augment"),
    ("analysis", "interop"),
    ("testing",),
    ("tunings",),
    ("study",),
    ("report",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
# The public names are resolved lazily from every floor; its version number is read from below.
LAZY = "__init__"


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("foldtune."):
            yield node.module.split(".")[1:]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1:] for a in node.names if a.name.startswith("foldtune."))


def _modules():
    return [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).as_posix() != "__init__.py"]


def test_every_module_has_a_floor():
    assert {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in _modules()} <= set(LEVEL)


def test_no_import_goes_up():
    wrong = [
        f"{path.relative_to(ROOT)} imports foldtune.{'.'.join(target)}"
        for path in _modules()
        for target in _imports(path)
        if LEVEL[target[0]] > LEVEL[path.relative_to(ROOT).parts[0].removesuffix(".py")]
    ]
    assert not wrong


def test_methods_do_not_import_each_other():
    # No methods but modules that methods share.
    shared = {"bottleneck", "low_rank", "places", "refusal"}
    allowed = {
        "cards": {"catalogue"},
        "catalogue": {"*"},
        "__init__": {"*"},
        "refusal": {"catalogue"},
    }
    wrong = [
        f"{path.stem} imports {target[1]}"
        for path in (ROOT / "methods").glob("*.py")
        for target in _imports(path)
        if target[0] == "methods" and len(target) > 1
        if target[1] not in shared and not allowed.get(path.stem, set()) & {"*", target[1]}
    ]
    assert not wrong


@pytest.fixture
def tree(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    yield importlib.import_module("tree")
    sys.modules.pop("tree", None)


def test_no_modules_import_each_other_in_a_circle(tree):
    # Imports inside functions and for types alone count: a reader has to follow them too.
    assert tree.circles(tree.import_graph()) == []


def test_a_circle_is_found_however_long_it_is(tree):
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"f"}, "f": {"e"}}
    assert tree.circles(graph) == [["a", "b", "c"], ["e", "f"]]


def test_no_room_is_a_warehouse(tree):
    # A method is a file, so `methods` grows with them.
    apart = {"foldtune/methods"}
    assert {n: c for n, c in tree.flat().items() if c > tree.LARGEST and n not in apart} == {}
