"""docs/reference.md is what the options say, docs/methods.md what the cards say."""

import importlib

import pytest


@pytest.fixture
def written(monkeypatch, request):
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    return importlib.import_module("reference_page")


def test_the_page_is_what_the_options_say(written):
    said = written.PAGE.read_text(encoding="utf-8")
    assert said == written.page(), "python benchmarks/reference_page.py writes it again"
    for verb in ("fit", "compare", "data card"):
        assert f"\n## foldtune {verb}\n" in said


def test_the_cards_are_those_of_the_methods(written):
    said = written.CARDS.read_text(encoding="utf-8")
    assert said == written.cards_page(), "python benchmarks/reference_page.py writes it again"
    assert "\n## SSF\n" in said
