"""Files are there whole or not at all, and hashes tell their parts apart."""

import os

import pytest

from foldtune.files import digest, read_json, replacing, replacing_on_disk, write_json


@pytest.mark.parametrize("way", [replacing, replacing_on_disk])
def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(way, tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")
    with way(path) as fresh:
        fresh.write_text("half")
        assert path.read_text() == "old"
        fresh.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize("way", [replacing, replacing_on_disk])
def test_an_error_leaves_the_old_file_and_nothing_else(way, tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")

    def stopped():
        with way(path) as fresh:
            fresh.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept"]


def test_json_that_was_cut_or_altered_is_not_read(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"images": 3})
    assert read_json(path) == {"images": 3}
    whole = path.read_text()
    path.write_text(whole[:-3])
    assert read_json(path) is None
    path.write_text(whole.replace("3", "4"))
    assert read_json(path) is None
    assert read_json(tmp_path / "absent") is None


def test_parts_cannot_merge():
    assert digest(["ab", "c"]) != digest(["a", "bc"]) != digest(["abc"])


def test_names_that_are_not_utf8_can_be_hashed():
    assert len(digest(["caf\udce9.jpg"])) == 32
