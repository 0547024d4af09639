"""Every file and room that docs/architecture.md names is there, and every floor is in it."""

import re
from pathlib import Path

import foldtune
from test_floors import FLOORS

ROOT = Path(foldtune.__file__).parent
PAGE = (Path(__file__).parents[1] / "docs/architecture.md").read_text(encoding="utf-8")


def test_every_file_that_it_names_is_there():
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")}
    for name in set(re.findall(r"`((?:[\w]+/)*[\w]+\.py)`", PAGE)):
        inside = name.removeprefix("foldtune/")
        outside = (Path(__file__).parents[1] / name).is_file()
        assert outside or inside in files or any(f.endswith(f"/{inside}") for f in files), name


def test_every_list_that_it_names_is_in_its_file():
    """`NAME` ... in `file.py`: what a line has to be added to, or looked at."""
    rows = [line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| ")]
    checked = 0
    for cell in rows:
        for names, file in re.findall(r"((?:`\w+`[^`]{0,30}?)+) in `([\w/]+\.py)`", cell):
            place = ROOT / file.removeprefix("foldtune/")
            source = place.read_text(encoding="utf-8")
            for name in re.findall(r"`(\w+)`", names):
                assert re.search(rf"\b{name}\b", source), (name, file)
                checked += 1
    assert checked > 20


def test_every_room_that_it_names_is_there():
    rooms = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_dir()}
    for name in set(re.findall(r"`((?:\w+/)+)`", PAGE)):
        room = name.strip("/")
        known = (ROOT.parents[1] / room).is_dir() or room in rooms
        assert known or any(one.endswith(f"/{room}") for one in rooms), name


def test_every_room_has_its_line():
    rooms = {name for floor in FLOORS for name in floor if (ROOT / name).is_dir()}
    assert {name for name in rooms if f"`{name}/`" not in PAGE} == set()
