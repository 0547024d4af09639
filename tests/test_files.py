"""Files are there whole or not at all, and hashes tell their parts apart."""

import os

import pytest
import torch
from safetensors.torch import save_file

from foldtune.files import (
    digest,
    filling,
    hash_of,
    once_a_file,
    read_json,
    replacing,
    replacing_on_disk,
    write_json,
)


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


def test_a_folder_appears_whole_and_takes_nothing_else_away(tmp_path):
    path = tmp_path / "kept"
    path.mkdir()
    (path / "a").write_text("old")

    def stopped():
        with filling(path) as fresh:
            (fresh / "b").write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped()
    assert (os.listdir(tmp_path), os.listdir(path)) == (["kept"], ["a"])
    with filling(path) as fresh:
        (fresh / "b").write_text("new")
    assert (os.listdir(tmp_path), sorted(os.listdir(path))) == (["kept"], ["a", "b"])
    with filling(tmp_path / "new") as fresh:
        (fresh / "c").write_text("new")
    assert os.listdir(tmp_path / "new") == ["c"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_a_file_that_somebody_else_wrote_follows_the_umask(umask, tmp_path):
    # safetensors makes its files for their owner alone, which no server of another user can read.
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "w.safetensors") as fresh:
            save_file({"a": torch.zeros(2)}, fresh)
    finally:
        os.umask(before)
    assert (tmp_path / "w.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_is_hashed_once_while_it_stays_and_again_once_it_changed(tmp_path):
    path, looks = tmp_path / "kept", []
    path.write_text("old")
    os.utime(path, (1, 1))

    @once_a_file
    def look(path):
        looks.append(path)
        return path.read_text()

    assert [look(path), look(path)] == ["old", "old"]
    assert len(looks) == 1
    path.write_text("new")
    assert [look(path), look(path)] == [
        "new",
        "new",
    ]  # written just now: another write may not show
    assert len(looks) == 3
    assert hash_of(path) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
