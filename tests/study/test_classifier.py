"""A tuned backbone as an estimator of scikit-learn."""

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import foldtune
from foldtune.errors import InputError

FEW = {"size": 16, "epochs": 2}


@pytest.fixture(scope="module")
def digits():
    """Three digits, 16 images each, to train on, and as many to judge on."""
    bunch = load_digits(n_class=3)
    rows = np.concatenate([np.flatnonzero(bunch.target == k)[:32] for k in range(3)])
    images, labels = bunch.images[rows] / 16, np.array(["zero", "one", "two"])[bunch.target[rows]]
    return images[::2], labels[::2], images[1::2], labels[1::2]


@pytest.fixture(scope="module")
def tuned(digits):
    return foldtune.Classifier(method="BitFit", **FEW).fit(*digits[:2])


def test_it_learns_what_the_images_show(tuned, digits):
    assert tuned.score(*digits[2:]) > 0.8
    assert list(tuned.classes_) == ["one", "two", "zero"]
    assert tuned.method_ == "BitFit()"


def test_probabilities_are_those_of_the_classes_in_order(tuned, digits):
    shares = tuned.predict_proba(digits[2])
    assert shares.shape == (48, 3)
    assert shares.sum(1) == pytest.approx(1)
    assert (tuned.classes_[shares.argmax(1)] == tuned.predict(digits[2])).all()


def test_bytes_floats_and_files_of_one_image_are_one_image(tuned, digits, tmp_path):
    image = np.round(digits[2][:2] * 255).astype(np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, pixels in zip(paths, image, strict=True):
        Image.fromarray(pixels).save(path)
    told = tuned.predict_proba(image)
    for same in (image / 255, image[..., None].repeat(3, 3), paths, [str(p) for p in paths]):
        assert np.array_equal(tuned.predict_proba(same), told)


def test_scikit_learn_checks_it_and_copies_it():
    check_estimator(foldtune.Classifier(**FEW))
    model = foldtune.Classifier(method="LoRA(rank=2)", lr=1e-3, **FEW)
    assert clone(model).get_params() == model.get_params()


def test_it_is_searched_and_stands_in_a_pipeline(digits):
    darker = FunctionTransformer(lambda x: x * 0.9)
    model = make_pipeline(darker, foldtune.Classifier(method="BitFit", **FEW))
    search = GridSearchCV(model, {"classifier__epochs": [1, 2]}, cv=2).fit(*digits[:2])
    assert search.best_params_["classifier__epochs"] in (1, 2)
    assert search.score(*digits[2:]) > 0.5


def test_auto_has_a_study_choose(digits, monkeypatch):
    from foldtune.study.terms import terms

    monkeypatch.setattr(terms, "METHODS", ("LinearProbe", "BitFit"))
    model = foldtune.Classifier(method="auto", trials=1, size=16, epochs=1).fit(*digits[:2])
    assert model.method_.partition("(")[0] in ("LinearProbe", "BitFit")
    assert model.score(*digits[2:]) > 0.6


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((4, 8)), "abab", "give \\(images, height, width\\)"),
        (np.zeros((4, 8, 8)) + 9, "abab", "scale them to 0 to 1"),
        (np.zeros((4, 8, 8), int), "abab", "give uint8, or floats"),
        (np.zeros((4, 8, 8)), "aba", "give one label an image"),
        (np.zeros((4, 8, 8)), "aaaa", "y holds one class, a"),
    ],
)
def test_what_is_no_image_is_refused(images, labels, said):
    with pytest.raises(InputError, match=said):
        foldtune.Classifier(**FEW).fit(images, list(labels))
