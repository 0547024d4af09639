"""Only regular files are read, and what unfolds to more than a picture is refused unread."""

import os
import socket
import threading
import zipfile

import numpy as np
import pytest

from data.conftest import encoded
from foldtune.data import load_data
from foldtune.data.sources.readers import TarReader, ZipReader, regular_bytes
from foldtune.data.sources.source import read_source
from foldtune.data.tools.check import describe
from foldtune.errors import InputError

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has none of these in a folder")


def make_fifo(path):
    os.mkfifo(path)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_loop(path):
    path.symlink_to(path.name)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def make_dangling(path):
    path.symlink_to("nothing.png")


ODD = {
    make_fifo: "a FIFO, no regular file",
    make_device: "a device, no regular file",
    make_socket: "a socket, no regular file",
    make_loop: "link",
    make_dangling: "no such file",
}


def in_time(call, seconds=20):
    """What a call gives or raises; fails where it hangs."""
    found = []

    def run():
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    return found[0]


@POSIX
@pytest.mark.parametrize("make", ODD)
def test_what_is_no_file_is_named_and_hangs_nothing(make, make_folder, tmp_path):
    folder = make_folder({"cat": 5, "dog": 5})
    make(folder / "dog" / "odd.png")
    refusal = in_time(lambda: load_data(folder, size=8, cache=tmp_path / "c", workers=1))
    assert isinstance(refusal, InputError)
    assert "dog/odd.png" in str(refusal)
    assert ODD[make] in str(refusal)
    told = in_time(lambda: describe(read_source(folder)))
    assert told["images"] == 11
    data = in_time(
        lambda: load_data(folder, size=8, cache=tmp_path / "c", workers=1, skip_broken=True)
    )
    assert len(data.labels) == 10
    assert list(data.facts["skipped"]) == ["dog/odd.png"]


@POSIX
@pytest.mark.parametrize("make", [make_fifo, make_device, make_socket])
@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.zip", "a.tar", "a.jsonl", "a.parquet", "a"])
def test_data_that_is_no_file_is_refused(make, name, tmp_path):
    make(tmp_path / name)
    refusal = in_time(lambda: read_source(tmp_path / name))
    assert isinstance(refusal, InputError)


def test_a_file_larger_than_a_picture_is_refused_unread(tmp_path):
    path = tmp_path / "a.png"
    path.touch()
    os.truncate(path, 3 << 30)
    with pytest.raises(InputError, match="more than a picture's"):
        regular_bytes(path)
    os.truncate(path, 1 << 30)
    with pytest.raises(InputError, match="begin with zeros"):
        regular_bytes(path)
    with pytest.raises(InputError, match="more than a picture's"):
        TarReader({"a": (str(path), 0, 5 << 30)})("a")


def test_a_member_of_zeros_is_refused_unread(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("zeros.png", "w") as member:
            for _ in range(80):
                member.write(bytes(1 << 20))
        archive.writestr("sound.png", encoded(1))
    reader = ZipReader(str(path))
    assert reader("sound.png") == encoded(1)
    with pytest.raises(InputError, match=r"83,886,080 bytes unfold from \d+,\d+, which no picture"):
        reader("zeros.png")


def test_the_bytes_of_a_file_are_its_own(tmp_path):
    data = np.random.default_rng(0).bytes(100_000)
    for size in (0, 1, 63, 64, 65, 100_000):
        (tmp_path / "a").write_bytes(data[:size])
        assert regular_bytes(tmp_path / "a") == data[:size]


@pytest.mark.parametrize(
    ("at", "bytes_"), [(6, b"\xae"), (48, b"\xef\x28"), (42, b"\xff" * 4), (30, b"\xff")]
)
def test_a_zip_that_says_what_cannot_be_is_refused_in_a_line(at, bytes_, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/é.png", encoded(1))  # so that its names are flagged as UTF-8
        archive.writestr("b/1.png", encoded(1))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2") + at  # version, name, place, length of what is behind the name
    data[entry : entry + len(bytes_)] = bytes_
    path.write_bytes(bytes(data))
    with pytest.raises(InputError) as caught:
        load_data(path, size=8, cache=tmp_path / "c", workers=1)
    assert "\n" not in str(caught.value)
