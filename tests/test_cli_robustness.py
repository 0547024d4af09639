"""Verbs about robustness, as a user runs them."""

import pytest

from test_cli import foldtune, refused, told


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def tuning(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuning")
    words = ("fit", "digits", "--size", 16, "--shots", 4, "--epochs", 1, "--out", out)
    return told(*words, "--method", "BitFit", cache=cache)["tuning"]


def test_wise_chooses_on_validation_and_marks_the_frontier(tuning, cache):
    words = ("--shots", 4, "--alphas", 0, 1, "--shift", "again=digits", "--corrupt", "jpeg:5")
    found = told("wise", tuning, "digits", *words, cache=cache)
    assert found["ways"] == ["weights"]
    assert [row["alpha"] for row in found["rows"]] == [0, 1]
    assert set(found["rows"][0]) == {
        "alpha", "validation", "home", "again", "jpeg:5", "mean_shift", "frontier",
    }  # fmt: skip
    assert found["chosen"] in (0, 1)


def test_eval_judges_away_from_home(tuning, cache, tmp_path):
    (tmp_path / "b.csv").write_text("home,again\n0.5,0.4\n0.8,0.7\n")
    # A source without splits of its own is judged whole, so at home all images are, too.
    words = ("--split", "all", "--shift", "again=digits", "--baseline", tmp_path / "b.csv")
    found = told("eval", tuning, "digits", *words, cache=cache)
    (row,) = found["shifts"]
    assert (row["shift"], row["top1"]) == ("again", found["top1"])
    assert row["effective"] == pytest.approx(row["top1"] - row["predicted"])
    shown = foldtune("eval", tuning, "digits", "--corrupt", "contrast:5", cache=cache)
    assert shown.returncode == 0, shown.stderr
    assert "contrast:5" in shown.stdout


def test_soup_ends_with_data_and_is_a_tuning(tuning, cache, tmp_path):
    out = tmp_path / "s.safetensors"
    made = told("soup", tuning, tuning, "digits", "--shots", 4, "--out", out, cache=cache)
    assert made["averaged"] == "tensors"
    assert [m["used"] for m in made["members"]] == [True, True]
    assert told("eval", out, "digits", cache=cache)["top1"] > 0.1
    assert "two tunings and data" in refused("soup", tuning, "digits", "--out", out, cache=cache)


def test_merge_takes_an_alpha(tuning, cache, tmp_path):
    merged = told("merge", tuning, "--out", tmp_path / "m.safetensors", "--alpha", 0.5, cache=cache)
    assert merged["largest"] < 1e-4


def test_the_published_claim_is_told(cache):
    assert told("reference", "robustness")["changes_places_at"] == [pytest.approx(76.5, abs=0.05)]
    assert "frontiers change places at" in foldtune("reference", "robustness").stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("eval", "TUNING", "digits", "--corrupt", "mist"), "unknown corruption"),
        (("eval", "TUNING", "digits", "--shift", "x=absent"), "absent"),
        (("wise", "TUNING", "digits", "--part", "tail"), "unknown part"),
        (("fit", "digits", "--size", 16, "--head", "zero-shot", "--out", "x"), "no text tower"),
        (("fit", "digits", "--size", 16, "--templates", "t", "--out", "x"), "zero-shot only"),
    ],
)
def test_bad_input_is_one_line(words, line, tuning, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [tuning if word == "TUNING" else word for word in words]
    assert line in refused(*words, cache=cache)
