"""What a source does not give is told by class with the cure; a class or split is never lost."""

import json
import os
import shutil
import warnings
import zipfile

import pytest

from data.conftest import encoded
from foldtune.data import load_data, read_source
from foldtune.data.sources.ledger import Ledger
from foldtune.errors import InputError
from foldtune.tunings.judging import WHOLE
from test_cli import foldtune, refused, told

RAW = b"a camera's own" + bytes(400)
KINDS = [
    ".nef",
    ".NEF",
    ".pcx",
    ".svg",
    ".dng",
    ".CR2",
    ".psd",
    ".tga",
    ".eps",
    ".nii",
    ".xyz",
    "",
]


def put(folder, *names, data=RAW):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.fixture
def photos(make_folder):
    return make_folder({"elm": 5, "oak": 5})


def load(source, **more):
    return load_data(source, size=8, workers=1, cache=source.parent / "cache", **more)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_class_of_files_that_are_not_read_is_refused(photos, suffix):
    put(photos, *(f"dog/{i}{suffix}" for i in range(5)))
    with pytest.raises(InputError, match=r"^class dog of .*: 5 files, none of a kind that is read"):
        read_source(photos)


@pytest.mark.parametrize("suffix", KINDS)
def test_single_files_that_are_not_read_are_told_by_class(photos, suffix):
    put(photos, f"oak/a{suffix}", f"oak/b{suffix}")
    data = load(photos)
    assert any("files are not read (oak 2 of 7)" in line for line in data.facts["warnings"])
    kind = suffix.lower() or "no extension"
    assert data.facts["ledger"]["not_read"] == {kind: {"oak": 2}}
    json.dumps(data.facts)


@pytest.mark.parametrize("name", ["readme.txt", "oak/notes.md", "docs/a.txt", "docs/x.json"])
def test_files_that_are_no_pictures_hardly_matter(photos, name):
    put(photos, name)
    data = load(photos)
    assert data.facts["ledger"] == {}
    assert data.classes == ("elm", "oak")


def test_a_split_of_files_that_are_not_read_is_refused(make_folder):
    folder = make_folder({"train/a": 5, "train/b": 5, "val/a": 3, "val/b": 3})
    put(folder, "test/a/1.nef", "test/b/1.nef", "test/b/2.nef")
    with pytest.raises(InputError, match=r"^split test of .*: 3 files, none .*develop them"):
        read_source(folder)


def test_a_class_that_is_lost_in_one_split_alone_is_refused(make_folder):
    folder = make_folder({"train/a": 5, "train/b": 5, "test/a": 3})
    put(folder, "test/b/1.nef")
    with pytest.raises(InputError, match=r"^class test/b of .*: 1 files"):
        read_source(folder)


def test_an_empty_split_is_refused(make_folder):
    folder = make_folder({"train/a": 5, "train/b": 5, "val/a": 3, "val/b": 3})
    (folder / "test").mkdir()
    with pytest.raises(InputError, match=r"split test of .* is empty"):
        read_source(folder)


@pytest.mark.parametrize("zipped", [False, True])
def test_an_empty_class_is_refused_for_training_and_told_for_judging(photos, zipped, make_zip):
    (photos / "zebra").mkdir()
    source = photos
    if zipped:
        source = make_zip(photos)
        with zipfile.ZipFile(source, "a") as archive:
            archive.writestr("zebra/", "")
    with pytest.raises(InputError, match="class folder zebra holds no picture"):
        load(source)
    data = load(source, seed=None)
    assert data.facts["split_rule"] == WHOLE
    assert "zebra is empty" in data.facts["warnings"]


def test_a_hidden_folder_is_no_class(photos):
    (photos / ".ipynb_checkpoints").mkdir()
    (photos / "oak" / "empty").mkdir()
    assert load(photos).facts["ledger"] == {}


def test_names_that_are_there_twice_are_told(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns, too
        for n in range(4):
            archive.writestr(f"a/{n}.png", encoded(n))
            archive.writestr(f"b/{n}.png", encoded(10 + n))
        archive.writestr("b/3.png", encoded(99))
    data = load(path)
    assert data.facts["ledger"] == {"twice": ["b/3.png"]}
    assert any("b/3.png: several files of one name" in line for line in data.facts["warnings"])


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("unreadable", lambda p: p.write_bytes(b"no image")),
        ("empty_files", lambda p: p.write_bytes(b"")),
        ("missing", lambda p: (p.unlink(), p.symlink_to("nowhere"))),
        ("not_regular", lambda p: (p.unlink(), os.mkfifo(p))),
    ],
)
def test_what_is_skipped_is_told_by_kind(photos, kind, spoil):
    spoil(photos / "oak" / "000.png")
    data = load(photos, skip_broken=True)
    assert list(data.facts["ledger"][kind]) == ["oak/000.png"]
    assert data.facts["skip_broken"] is True


def test_skipping_never_removes_a_split(make_folder):
    folder = make_folder({"train/a": 5, "train/b": 5, "test/a": 1, "test/b": 1})
    for name in "ab":
        (folder / "test" / name / "000.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="no image of the test split can be read"):
        load(folder, skip_broken=True)


def test_a_ledger_of_nothing_says_nothing():
    assert Ledger().json() == {}
    assert Ledger().lines({"a": 1}) == []


@pytest.mark.parametrize("names", ["{}/{:03d}", "{}/{:03d}.jpeg", "gone/{}{:03d}.png"])
def test_check_of_a_table_without_its_files_ends_with_2(photos, tmp_path, names):
    lines = [f"{names.format(c, i)},{c}" for c in ("oak", "elm") for i in range(5)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines]))
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    if names == "{}/{:03d}":  # ids without extension are found
        assert told("data", "check", tmp_path / "t.csv")[0]["missing_files"] == 0
        return
    done = foldtune("data", "check", tmp_path / "t.csv")
    assert done.returncode == 2
    assert "no file of images is there: 10 of 10 files are missing: " in done.stderr
    if names == "{}/{:03d}.jpeg":
        assert "(there is oak/000.png)" in done.stderr


def test_check_tells_of_some_missing_files_and_refuses_a_missing_class(photos):
    lines = [f"{c}/{i:03d}.png,{c}" for c in ("oak", "elm") for i in range(6)]
    (photos / "t.csv").write_text("\n".join(["path,label", *lines]))
    (row,) = told("data", "check", photos / "t.csv")
    assert row["ledger"] == {"missing": ["oak/005.png", "elm/005.png"]}
    assert "2 of 12 files are missing: oak/005.png, elm/005.png" in row["warnings"]
    shutil.rmtree(photos / "elm")
    done = foldtune("data", "check", photos / "t.csv")
    assert (done.returncode, "no file of class elm is there" in done.stderr) == (2, True)


def test_check_and_card_show_the_ledger(photos, tmp_path):
    put(photos, "oak/a.nef")
    assert told("data", "check", photos)[0]["ledger"] == {"not_read": {".nef": {"oak": 1}}}
    card = told("data", "card", photos, cache=tmp_path / "cache")
    assert card["ledger"] == {"not_read": {".nef": {"oak": 1}}}
    put(photos, "dog/a.nef")
    assert "class dog" in refused("data", "check", photos)


@pytest.mark.parametrize("name", ["oak/\0.png", "oak/" + "é" * 400, "n" * 5000 + ".png", "oak"])
def test_a_name_that_no_file_can_have_is_missing(photos, name):
    (photos / "t.csv").write_text(f"path,label\noak/000.png,oak\nelm/000.png,elm\n{name},oak")
    (row,) = told("data", "check", photos / "t.csv")
    assert [len(names) for names in row["ledger"].values()] == [1]
    data = load_data(photos / "t.csv", size=8, workers=1, seed=None, skip_broken=True,
                     cache=photos.parent / "cache")  # fmt: skip
    assert len(data.labels) == 2
