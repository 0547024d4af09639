"""The verbs of analysis, as typed."""

import re

import pytest

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.study.compare import compare
from foldtune.training.recipe import Recipe
from test_cli import foldtune, refused, told


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """As `foldtune compare digits --size 16 --shots 4` leaves it, but for the report."""
    folder = tmp_path_factory.mktemp("study")
    data = load_data("digits", size=16, cache=tmp_path_factory.mktemp("cache")).few_shot(4)
    compare(
        data, load_backbone("micro", size=16), ("LinearProbe", "BitFit"), out=folder, trials=1,
        seeds=2, recipe=Recipe(epochs=1, warmup_epochs=0.1),
    )  # fmt: skip
    return folder


def test_analyse_prints_tables_and_json(study):
    brief = foldtune("analyse", study, "--draws", 50)
    assert brief.returncode == 0, brief.stderr
    done = foldtune("analyse", study, "--draws", 50, "--full")
    assert "Agreement" not in brief.stdout
    for heading in (
        "Accuracy and ranks over",
        "Agreement",
        "Ensembles",
        "Calibration",
    ):
        assert heading in done.stdout
    found = told("analyse", study, "--draws", 50)
    assert found["images"] > 0
    # The verdict comes first, in its own order, whatever follows.
    lines = brief.stdout.splitlines()
    assert lines[: len(found["verdict"])] == found["verdict"]
    assert done.stdout.startswith("\n".join(found["verdict"]))


def test_an_ensemble_is_saved_and_takes_the_place_of_a_tuning(study, tmp_path, tmp_path_factory):
    saved = told("ensemble", study, "--out", tmp_path / "e", "--rule", "vote")
    assert saved["passes"] == 2
    found = told(
        "eval", tmp_path / "e", "digits", "--shots", 4, cache=tmp_path_factory.mktemp("cache")
    )
    assert found["top1"] == pytest.approx(saved["test_accuracy"])
    assert "choose from: vote" in refused(
        "ensemble", study, "--out", tmp_path / "f", "--rule", "votes"
    )


def test_rank_needs_two_studies(study):
    assert "foldtune analyse" in refused("rank", study)


def test_reference_runs_the_published_tables():
    done = foldtune("reference", "many-shot")
    assert "clevr" in done.stdout
    assert "choose from: vtab" in refused("reference", "vtb")
    found = told("reference")
    assert set(found) == {"last_epoch", "best_epoch"}
    assert found["last_epoch"]["advice"]["baseline"]["one"]["value"] == pytest.approx(
        1.2821, abs=1e-4
    )


def test_advise_says_how_sure_it_is(tmp_path):
    done = foldtune("advise", "digits", "--size", 16, "--shots", 4, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(r"Try .+ first, then .*\. How sure that is: .*\.\n", done.stdout)
    assert "not of micro" in done.stdout
    assert not re.search(r"[{}]|quality|between  ", done.stdout)


def test_report_takes_results_put_beside_the_study(study, tmp_path):
    (tmp_path / "BitFit.json").write_text(
        '{"shifts": [{"shift": "sketch", "images": 9, "top1": 0.5, "home": 0.75, "drop": 0.25}]}'
    )
    page = tmp_path / "page.html"
    made = told("report", study, "--out", page, "--shift", tmp_path / "BitFit.json")
    assert made["bytes"] == page.stat().st_size
    assert "25.0 points: BitFit on sketch" in page.read_text()
    assert "data:image/jpeg" in page.read_text()
    assert "foldtune wise" in refused("report", study, "--wise", page)
