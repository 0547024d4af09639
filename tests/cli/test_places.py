"""Where results go, and seeds, are looked at before any work."""

import os

import pytest

from test_cli import refused

FIT, MERGE = ("fit", "digits", "--size", 16), ("merge", "t.safetensors")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letters.txt").write_text("mine")
    return tmp_path


@pytest.mark.parametrize("empty", ["", "  "])
@pytest.mark.parametrize("words", [FIT, MERGE, ("ensemble", "s"), ("compare", "digits")])
def test_an_empty_place_is_not_the_current_folder(words, empty, here):
    assert "--out is empty" in refused(*words, "--out", empty)


@pytest.mark.parametrize(
    ("words", "out", "said"),
    [
        (FIT, "file", "file is a file; name a folder"),
        (FIT, "file/below", "is a file"),
        (FIT, "a" * 300, "name too long"),
        (FIT, "full", "full holds other files (letters.txt); name a new folder"),
        (("compare", "digits"), "full", "full holds other files"),
        (("ensemble", "s"), "full", "full holds other files"),
        (("export-peft", "t"), "full", "full holds other files"),
        (MERGE, "full", "full holds other files"),
        (MERGE, "file", "file is there already and no .safetensors"),
        (MERGE, "file/below", "is a file"),
        (("report", "s"), "full", "full is a folder; name a file"),
    ],
)
def test_a_place_that_cannot_take_results_is_refused_before_work(words, out, said, here):
    before = sorted(here.rglob("*"))
    assert said in refused(*words, "--out", out)
    assert sorted(here.rglob("*")) == before


def test_a_comparison_without_a_place_goes_to_study_unless_that_is_somebodys(here):
    assert "nowhere" in refused("compare", "nowhere")  # the place is none of its complaints
    (here / "study").mkdir()
    (here / "study" / "thesis.txt").touch()
    assert "study holds other files (thesis.txt)" in refused("compare", "digits")


@pytest.mark.parametrize("split", ["fold0", "repeat0", "repeat0-fold0"])
def test_a_stopped_comparison_over_splits_is_gone_on_with(split, here):
    # It was refused as a folder of other files until its last split was done.
    (here / "splits" / split).mkdir(parents=True)
    said = refused("compare", "nowhere", "--folds", "2", "--out", "splits")
    assert "holds other files" not in said
    assert "nowhere" in said


@pytest.mark.skipif(os.name == "nt", reason="Windows has other devices")
def test_a_device_is_not_replaced(here):
    os.mkfifo(here / "pipe")
    for place in ("pipe", "/dev/null"):
        assert "is a device or pipe; name a file" in refused(*MERGE, "--out", place)
    assert not os.path.isfile("/dev/null")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_one_may_not_write_is_refused(here):
    (here / "full").chmod(0o500)
    assert "takes no files of yours" in refused(*FIT, "--out", "full/new")


@pytest.mark.parametrize("seed", [-1, 2**32, 10**20])
@pytest.mark.parametrize("option", ["--seed", "--split-seed"])
def test_a_seed_that_no_library_takes_is_refused(option, seed, here):
    assert "seed" in refused(*FIT, "--out", "o", option, seed)
    assert not (here / "o").exists()


@pytest.mark.parametrize("size", [0, -16, 10**6])
def test_images_of_no_size_are_refused(size, here):
    said = refused("fit", "digits", "--out", "o", "--size", size)
    assert f"images of {size} pixels a side are none" in said


def test_a_sum_of_hundreds_of_methods_is_refused_at_once(here):
    assert "a sum of 222 methods is none" in refused("inspect", "micro", "--method",
                                                     "+".join(["SSF()"] * 222))  # fmt: skip


@pytest.mark.parametrize("seed", ["1.5", "1e3", "one", "1.0"])
@pytest.mark.parametrize("option", ["--seed", "--split-seed"])
def test_a_seed_that_is_no_whole_number_is_not_rounded(option, seed, here):
    assert "give a whole number" in refused(*FIT, "--out", "o", option, seed)


@pytest.mark.parametrize("verb", ["decode", "card"])
def test_a_size_of_nothing_is_refused(verb, here):
    assert "image size 0" in refused("data", verb, "digits", "--size", 0)
