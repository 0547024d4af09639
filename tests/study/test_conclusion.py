"""What `compare` and `fit` return: short in words, a table in a notebook, and of use."""

import numpy as np
import pytest
from PIL import Image

import foldtune
from foldtune.core.tuningfile import read
from foldtune.errors import InputError
from foldtune.methods import parse
from foldtune.study.conclusion import BEST
from foldtune.study.results.description import read_description


@pytest.fixture(scope="module")
def studied(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return foldtune.compare(
        digits, foldtune.load_backbone("micro", size=16), ["LinearProbe", "BitFit"], out=folder,
        epochs=1, trials=1, seeds=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def picture(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "one.png"
    Image.fromarray(np.ascontiguousarray(digits.pixels[0])).save(path)
    return path


def test_it_says_who_is_chosen_in_a_line(studied):
    assert repr(studied).startswith(f"Comparison({studied.winner['label']} chosen of 2 methods: ")
    assert len(repr(studied)) < 200


def test_a_notebook_shows_the_leaderboard_with_the_winner_first(studied):
    drawn = studied._repr_html_()
    assert drawn.index(studied.winner["label"]) < drawn.index("font-weight:600") + 500
    frame = studied.to_pandas()
    assert frame["label"][0] == studied.winner["label"]
    assert set(frame["label"]) == {"LinearProbe", "BitFit"}


def test_the_winner_stands_where_one_finds_it_bound_by_its_hash(studied):
    assert studied.tuning == studied.folder / BEST
    header, _ = read(studied.tuning)
    assert parse(header["method"]) == parse(studied.best)
    _, sealed = read_description(studied.folder)
    assert BEST in sealed.files


def test_it_predicts_and_merges(studied, picture, tmp_path):
    (named,) = studied.predict([picture])
    assert named["class"] in studied.data.classes
    merged = studied.merge(tmp_path / "merged.safetensors")
    assert merged.path.is_file()
    assert merged.certificate.largest < 1e-4


def test_a_fitted_model_predicts_without_a_file_and_says_why_it_merges_none(digits, picture):
    fitted = foldtune.fit(digits, foldtune.load_backbone("micro", size=16), "BitFit", epochs=1)
    assert repr(fitted).startswith("Fitted(BitFit() on digits: validation ")
    (named,) = fitted.predict([picture])
    assert named["class"] in digits.classes
    assert list(fitted.to_pandas()["epoch"])[-1] == 1
    assert "<table>" in fitted._repr_html_()
    with pytest.raises(InputError, match="kept no tuning; give it out="):
        fitted.merge("merged.safetensors")


def test_options_of_loading_are_refused_beside_what_is_loaded(digits):
    backbone = foldtune.load_backbone("micro", size=16)
    with pytest.raises(InputError, match=r"is loaded already; give size to load_backbone"):
        foldtune.fit(digits, backbone, "BitFit", size=32)
    with pytest.raises(InputError, match=r"is read already; give resize to load_data"):
        foldtune.fit(digits, backbone, "BitFit", resize="crop")
    with pytest.raises(InputError, match="the recipe and epochs both say how to train"):
        foldtune.fit(digits, backbone, "BitFit", recipe=foldtune.Recipe(epochs=1), epochs=2)


def test_objects_are_short_in_a_notebook(digits):
    backbone = foldtune.load_backbone("micro", size=16)
    assert len(repr(backbone)) < 160
    assert "16 pixels" in backbone._repr_html_()
    assert repr(digits).startswith("ImageData(digits: 10 classes, train 60, val 60, test ")
    attachment = foldtune.attach(backbone, foldtune.methods.BitFit(), num_classes=10)
    assert repr(attachment).endswith("and a classifier of 1,290 train)")
    attachment.detach()
    assert repr(attachment).endswith("no longer on its model)")
