"""A path tells class and split; a layout that could be misread is refused."""

import unicodedata

import pytest

from foldtune.data.sources.layout import arrange, pictures
from foldtune.errors import InputError


def read(*names):
    items, classes = arrange(sorted(names), "photos")
    return [(item.name, classes[item.label], item.split) for item in items], classes


def test_class_folders_give_sorted_classes():
    items, classes = read("b/1.jpg", "a/1.jpg", "10/1.jpg")
    assert classes == ("10", "a", "b")
    assert items[0] == ("10/1.jpg", "10", None)


@pytest.mark.parametrize("val", ["val", "valid", "Validation", "VAL"])
def test_split_folders_are_known_in_any_case(val):
    items, classes = read("Train/a/1.jpg", f"{val}/b/1.jpg", "TEST/a/2.jpg")
    assert classes == ("a", "b")
    assert {split for _, _, split in items} == {"train", "val", "test"}


@pytest.mark.parametrize("inner", ["{}/1.jpg", "train/{}/1.jpg"])
def test_wrapping_folders_are_descended(inner):
    items, classes = read(*("data/v2/" + inner.format(name) for name in "ab"))
    assert classes == ("a", "b")
    assert items[0][0].startswith("data/v2/")


def test_a_class_may_be_called_train():
    items, classes = read("train/1.jpg", "bus/1.jpg", "test/2.jpg")
    assert classes == ("bus", "test", "train")
    assert items[0][2] is None


def test_accents_of_macos_name_the_same_class():
    composed = "café"
    decomposed = unicodedata.normalize("NFD", composed)
    _, classes = read(f"train/{composed}/1.jpg", "train/b/1.jpg", f"test/{decomposed}/1.jpg")
    assert classes == ("b", composed)


def test_hidden_and_other_files_are_no_pictures():
    names = ["a/1.JPG", "a/.x.jpg", ".git/b.png", "__MACOSX/a/._1.jpg", "a/x.txt", "README"]
    assert pictures(names) == (["a/1.JPG"], {".txt": 1, "no extension": 1})


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["1.jpg", "2.jpg"], "lie directly in it"),
        (["a/1.jpg", "b/1.jpg", "x.jpg"], "1 images of photos lie beside the class folders"),
        (["photo/dog/1.jpg", "sketch/dog/1.jpg"], "photo/dog/1.jpg in photos lies too deep"),
        (["a/1.jpg", "b/c/2.jpg"], "b/c/2.jpg in photos lies too deep"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"], "test/1.jpg in photos lies directly"),
        (["train/a/1.jpg", "test/a/b/1.jpg"], "lies too deep"),
        (["train/a/1.jpg", "train/b/1.jpg", "other/a/1.jpg"], "lies too deep"),
    ],
)
def test_a_shape_that_could_be_misread_is_refused(names, part):
    with pytest.raises(InputError, match=part) as caught:
        read(*names)
    assert "\n" not in str(caught.value)
