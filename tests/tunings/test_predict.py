"""Any number of image files get their answers in order; a broken one costs itself."""

import pytest
from PIL import Image

from foldtune.backbones import load_backbone
from foldtune.errors import InputError
from foldtune.tunings.predict import most_likely, predict_images
from foldtune.tunings.usable import Plain

CLASSES = [str(number) for number in range(200)]


@pytest.fixture(scope="module")
def micro():
    return load_backbone("micro", size=16)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for place in range(150):
        Image.new("RGB", (20, 16), (place, 255 - place, 7 * place % 255)).save(
            folder / f"{place:03}.png"
        )
    (folder / "075.png").write_text("no image")
    return [*sorted(folder.glob("*.png")), folder / "absent.png"]


def test_broken_files_are_told_in_their_places_and_the_rest_goes_on(micro, files):
    told = list(predict_images(Plain(micro.model), micro, files, most_likely(CLASSES)))
    assert [row["image"] for row in told] == [str(path) for path in files]
    assert {row["image"]: row["error"] for row in told if "error" in row} == {
        str(files[75]): "not an image",
        str(files[-1]): "no such file",
    }


def test_the_first_of_several_classes_is_the_most_likely(micro, files):
    (row,) = predict_images(Plain(micro.model), micro, files[:1], most_likely(CLASSES, 5))
    shares = [one["probability"] for one in row["top"]]
    assert shares == sorted(shares, reverse=True)
    assert row["class"] == row["top"][0]["class"]
    assert row["probability"] == shares[0]


def test_a_temperature_changes_how_sure_it_is_and_not_of_what(micro, files):
    cold, warm = (
        next(predict_images(Plain(micro.model), micro, files[:1], most_likely(CLASSES, 1, heat)))
        for heat in (1.0, 4.0)
    )
    assert cold["class"] == warm["class"]
    assert cold["probability"] > 1.5 * warm["probability"]


def test_more_classes_than_there_are_cannot_be_told():
    with pytest.raises(InputError, match="of 200 classes the first 201"):
        most_likely(CLASSES, 201)
