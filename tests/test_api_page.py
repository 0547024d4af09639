"""What docs/api.md names is where it says, so that `make docs` finds it."""

import importlib
import re
from pathlib import Path

import foldtune

ROOT = Path(foldtune.__file__).parents[1]
PAGE = Path(__file__).parents[1] / "docs/api.md"


def test_every_name_is_where_the_page_says():
    named = re.findall(r"^::: ([\w.]+)$", PAGE.read_text(encoding="utf-8"), re.M)
    assert "foldtune.study.fit.fit" in named
    for name in named:
        if (ROOT / f"{name.replace('.', '/')}.py").is_file():
            continue
        home, _, last = name.rpartition(".")
        assert getattr(importlib.import_module(home), last).__module__ == home, name
