"""Files, folders, patterns and lists stand for pictures; classes' names lead nowhere else."""

import pytest

from foldtune.errors import InputError
from foldtune.tunings.files import Sorted, expand, read_list


@pytest.fixture
def pictures(tmp_path):
    for name in ("b.png", "a.png", "c.txt", "in/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_stands_for_its_pictures_and_a_pattern_for_what_it_fits(pictures):
    assert expand([pictures]) == [pictures / n for n in ("a.png", "b.png", "in/d.jpg")]
    assert expand([pictures / "*.png"]) == [pictures / "a.png", pictures / "b.png"]
    assert expand([pictures / "**" / "*.jpg"]) == [pictures / "in/d.jpg"]


def test_a_pattern_that_fits_nothing_is_refused(pictures):
    with pytest.raises(InputError, match="no file fits"):
        expand([pictures / "*.webp"])


def test_a_file_is_no_pattern(tmp_path):
    (tmp_path / "a[1].png").write_bytes(b"x")
    assert expand([tmp_path / "a[1].png"]) == [tmp_path / "a[1].png"]


def test_a_list_has_a_path_a_line():
    assert [str(path) for path in read_list(["a b.png\n", "\n", "c.png"])] == ["a b.png", "c.png"]
    with pytest.raises(InputError, match="list of images is empty"):
        read_list(["\n"])


def test_classes_of_a_stranger_stay_inside(pictures, tmp_path):
    names = ["../../out", "..", "", "/etc", "a/b", "a_b", "A_B"]
    into = Sorted(tmp_path / "sorted", names)
    places = [into.take(pictures / "a.png", name) for name in names]
    assert all((tmp_path / "sorted").resolve() in place.resolve().parents for place in places)
    assert len({str(place.parent).lower() for place in places}) == len(names)


def test_no_file_that_is_there_is_replaced(pictures, tmp_path):
    into = Sorted(tmp_path / "sorted", ["one"])
    first, other = into.take(pictures / "a.png", "one"), into.take(pictures / "a.png", "one")
    assert (first.name, other.name) == ("a.png", "a-2.png")


def test_links_lead_to_the_files(pictures, tmp_path):
    place = Sorted(tmp_path / "sorted", ["one"], link=True).take(pictures / "a.png", "one")
    assert place.is_symlink()
    assert place.resolve() == (pictures / "a.png").resolve()
