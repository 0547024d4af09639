"""What verbs return draws itself, short, and is still a plain list or dict."""

import builtins
import json

import pytest

from foldtune.errors import InputError
from foldtune.shown import Facts, Table, html_table

ROWS = [{"image": "a.png", "class": "<b>red</b>", "probability": 0.98765}, {"image": "b.png"}]


def test_a_table_is_a_list_that_json_writes():
    assert Table(ROWS) == ROWS
    assert json.loads(json.dumps(Table(ROWS))) == ROWS


def test_a_table_is_drawn_in_columns():
    assert repr(Table(ROWS)).splitlines() == [
        "image  class       probability",
        "a.png  <b>red</b>  0.9877",
        "b.png  –           –",
    ]


def test_names_are_text_in_html():
    drawn = Table(ROWS)._repr_html_()
    assert "&lt;b&gt;red&lt;/b&gt;" in drawn
    assert "<b>" not in drawn
    assert html_table(ROWS, marked=1).count("font-weight:600") == 3


def test_a_long_table_is_cut_and_says_so():
    assert repr(Table([{"n": i} for i in range(60)])).endswith("... 10 more")


def test_facts_draw_what_is_not_nested():
    told = Facts({"top1": 0.5, "images": 1200, "shifts": [{"shift": "fog"}]})
    assert repr(told) == "top1: 0.5\nimages: 1,200"
    assert told["shifts"] == [{"shift": "fog"}]
    assert told.to_pandas().to_dict("records") == [{"top1": 0.5, "images": 1200}]


def test_without_pandas_it_says_what_to_install(monkeypatch):
    own = builtins.__import__

    def without(name, *more):
        if name == "pandas":
            raise ImportError(name)
        return own(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install pandas"):
        Table(ROWS).to_pandas()
