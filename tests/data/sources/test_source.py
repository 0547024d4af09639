"""A folder and the same folder in a zip list the same items; what is wrong is told in one line."""

import os
import pickle
import zipfile

import pytest

from data.conftest import encoded
from foldtune.data import read_source
from foldtune.errors import InputError


def test_a_folder_and_its_zip_list_the_same(make_folder, make_zip):
    folder = make_folder({"train/cat": 2, "train/dog": 3, "test/dog": 1})
    listed, zipped = read_source(folder), read_source(make_zip(folder))
    assert listed.items == zipped.items
    assert listed.classes == zipped.classes == ("cat", "dog")
    for item in listed.items:
        assert listed.open(item.name) == zipped.open(item.name)


def test_a_folder_inside_a_zip_lists_as_the_folder_itself(make_folder, make_zip):
    folder = make_folder({"photo/train/cat": 2, "photo/train/dog": 1, "photo/sub/x": 1, "ink/x": 1})
    packed = make_zip(folder, "pacs/")
    for inner in ("photo/train", "photo"):
        if inner == "photo":
            (folder / "photo/sub/x/000.png").unlink()
            packed = make_zip(folder, "pacs/")
        listed, zipped = read_source(folder / inner), read_source(packed / "pacs" / inner)
        assert listed.items == zipped.items
        assert listed.classes == zipped.classes == ("cat", "dog")
        name = listed.items[0].name
        assert zipped.open(name) == pickle.loads(pickle.dumps(zipped)).open(name)


def test_a_folder_missing_in_a_zip_is_refused_with_the_nearest(make_folder, make_zip):
    packed = make_zip(make_folder({"photo/a": 1, "photo/b": 1, "sketch/a": 1}))
    with pytest.raises(InputError, match=r"unknown folder in .*'phto'; choose from: photo, "):
        read_source(packed / "phto")


def test_a_reader_survives_pickling_after_use(make_folder, make_zip):
    listing = read_source(make_zip(make_folder({"a": 1, "b": 1})))
    data = listing.open("a/000.png")
    assert pickle.loads(pickle.dumps(listing)).open("a/000.png") == data


def test_a_stamp_changes_with_the_file(make_folder):
    folder = make_folder({"a": 1, "b": 1})
    before = read_source(folder).stamps
    (folder / "a" / "000.png").write_bytes(encoded(99) + b" ")
    after = read_source(folder).stamps
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_files_that_are_no_images_are_counted(make_folder):
    folder = make_folder({"a": 1, "b": 1})
    (folder / "a" / "notes.txt").write_text("x")
    (folder / ".DS_Store").write_text("x")
    listing = read_source(folder)
    assert listing.ignored == {".txt": 1}
    assert len(listing.items) == 2


def test_links_are_followed_and_loops_are_not(make_folder):
    folder = make_folder({"a": 1, "b": 1})
    os.symlink(folder / "a", folder / "linked")
    os.symlink(folder, folder / "a" / "loop")
    os.symlink(folder / "b", folder / "b" / "loop")
    names = [item.name for item in read_source(folder).items]
    assert names == ["a/000.png", "b/000.png", "linked/000.png"]


def test_a_dangling_link_is_listed_so_that_it_is_reported(make_folder):
    folder = make_folder({"a": 1, "b": 1})
    os.symlink(folder / "gone.png", folder / "a" / "x.png")
    listing = read_source(folder)
    assert listing.stamps[1] == "missing"


def test_what_a_mac_adds_to_a_zip_is_ignored(tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("photos/a/1.png", "photos/b/1.png", "__MACOSX/photos/a/._1.png"):
            archive.writestr(name, encoded(1))
        archive.writestr("photos/empty/", "")
    assert [item.name for item in read_source(path).items] == ["photos/a/1.png", "photos/b/1.png"]


@pytest.mark.parametrize(
    "member", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "..\\evil.png"]
)
def test_a_zip_that_points_outside_itself_is_refused_by_member(tmp_path, member):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", encoded(1))
        archive.writestr(member, encoded(2))
    with pytest.raises(InputError, match="points outside the zip") as caught:
        read_source(path)
    assert repr(member) in str(caught.value)


def test_a_link_inside_a_zip_is_refused(tmp_path):
    path = tmp_path / "linked.zip"
    link = zipfile.ZipInfo("a/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="holds a link"):
        read_source(path)


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    path = tmp_path / "photos.zip"
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="not a readable zip"):
        read_source(path)


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.nef").write_bytes(b"x")
    with pytest.raises(InputError, match=r"found: 1 \.nef"):
        read_source(tmp_path)


@pytest.mark.parametrize("name", ["gone", "gone.zip", "gone.csv"])
def test_a_path_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="no data at"):
        read_source(tmp_path / name)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "photos.tar.gz").write_bytes(b"x")
    with pytest.raises(InputError, match="neither a folder nor"):
        read_source(tmp_path / "photos.tar.gz")
