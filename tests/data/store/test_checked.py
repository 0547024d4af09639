"""No damaged pixel is used: each row is hashed at its first use, and decoded again or named."""

import os
import random
import shutil
import warnings

import numpy as np
import pytest

from data.conftest import encoded
from foldtune.data import load_data
from foldtune.data.store.cachesize import verify
from foldtune.data.store.checked import CheckedPixels
from foldtune.data.streaming import stream_data
from foldtune.errors import InputError
from foldtune.training.batches import Data


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def folder(make_folder):
    return make_folder({"a": 8, "b": 8})


def entry_of(cache, name="pixels.raw"):
    return next(p for p in cache.glob(f"*/{name}") if len(p.parent.name) == 32)


def flip(file, bit):
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def test_a_damaged_row_is_decoded_again_in_the_store_too(folder, cache):
    whole = np.array(load_data(folder, size=8, cache=cache).pixels[:])
    flip(entry_of(cache), 8 * (5 * 192 + 7))
    data = load_data(folder, size=8, cache=cache)
    with pytest.warns(RuntimeWarning, match=f"{data.names[5]} in .* are damaged; decoded again"):
        batch = data.pixels[[1, 5, 9]]
    assert (batch == whole[[1, 5, 9]]).all()
    assert (load_data(folder, size=8, cache=cache).pixels[:] == whole).all()
    assert not any(one["damaged"] for one in verify(cache))


def test_a_store_that_cannot_be_written_gives_the_right_pixels_all_the_same(
    folder, cache, monkeypatch
):
    whole = np.array(load_data(folder, size=8, cache=cache).pixels[:])
    flip(entry_of(cache), 8 * 5 * 192)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(CheckedPixels, "_write", refused)
    pixels = load_data(folder, size=8, cache=cache).pixels
    with pytest.warns(RuntimeWarning, match="decoded again"):
        assert (pixels[:] == whole).all()
    for index in (5, [4, 5, 5], slice(3, 7), (slice(3, 7), slice(None), 2), np.arange(16) == 5):
        assert (pixels[index] == whole[index]).all(), index
    assert (np.asarray(pixels) == whole).all()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda file: file.unlink(), "its source cannot be read"),
        (lambda file: file.write_bytes(encoded(999)), "its source gives other pixels now"),
    ],
)
def test_a_damaged_row_without_its_source_is_named(folder, cache, harm, why):
    data = load_data(folder, size=8, cache=cache)
    flip(entry_of(cache), 8 * 3 * 192)
    harm(folder / data.names[3])
    with pytest.raises(InputError, match=rf"pixels of {data.names[3]} in .* damaged, and {why}"):
        data.pixels[[2, 3]]
    assert (data.pixels[[2]] >= 0).all()  # the others are fine


def test_rows_are_hashed_once_and_only_those_that_are_asked_for(folder, cache):
    data = load_data(folder, size=8, cache=cache)
    data.pixels[[0, 1]]
    flip(entry_of(cache), 8 * 192)  # row 1: hashed already
    flip(entry_of(cache), 8 * 7 * 192)  # row 7: never asked for
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.pixels[[0, 1, 2]]


def test_verify_finds_every_damaged_row(folder, cache):
    data = load_data(folder, size=8, cache=cache)
    stream = stream_data(folder, size=8, cache=cache)
    stream.pixels[:]
    stream.pixels.close()
    assert [(one["kind"], one["damaged"]) for one in verify(cache)] == [
        ("stream", 0), ("entry", 0),
    ]  # fmt: skip
    for row in (2, 11):
        flip(entry_of(cache), 8 * (row * 192 + 100) + 3)
    flip(next(cache.glob("streams/*/pixels.raw")), 8 * 4 * 192)
    found = {one["kind"]: one["rows"] for one in verify(cache)}
    assert found == {"stream": [4], "entry": [2, 11]}
    flip(entry_of(cache, "entry.json"), 400)
    assert {one["kind"]: one["rows"] for one in verify(cache)}["entry"] == [-1]
    assert len(data.names) == 16


def test_a_stream_calls_decoded_only_what_was_synced(folder, cache, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(number))
    data = stream_data(folder, size=8, cache=cache, workers=1)
    data.pixels[:]
    data.pixels.close()
    assert synced

    def failing(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    other = stream_data(folder, size=9, cache=cache, workers=1)
    other.pixels[:]
    with pytest.raises(InputError, match=r"cannot keep the decoded images .* Input/output error"):
        other.pixels.close()
    monkeypatch.undo()
    state = [p.read_bytes() for p in cache.glob("streams/*/state.raw")]
    assert sorted(one.count(1) for one in state) == [0, 16]


@pytest.mark.parametrize("harm", ["row", "all"])
def test_a_stream_decodes_again_what_was_zeroed(folder, cache, harm):
    first = stream_data(folder, size=8, cache=cache, workers=1)
    whole = np.array(first.pixels[:])
    first.pixels.close()
    file = next(cache.glob("streams/*/pixels.raw"))
    data = bytearray(file.read_bytes())
    data[: 192 if harm == "row" else len(data)] = bytes(192 if harm == "row" else len(data))
    file.write_bytes(data)
    again = stream_data(folder, size=8, cache=cache, workers=1)
    assert (again.pixels[:] == whole).all()


def batches(data):
    """All pixels as training's batch loader gives them, and what else a run reads of data."""
    import torch

    loader = Data(data.pixels, data.labels, np.arange(len(data.labels)))
    pixels, labels = loader.load(np.arange(len(data.labels)), torch.device("cpu"))
    return pixels.numpy(), labels.numpy(), np.array(data.keys[np.arange(len(data.labels))])


@pytest.mark.filterwarnings("ignore:the decoded pixels:RuntimeWarning")
def test_random_bit_flips_reach_no_gradient(folder, cache, tmp_path):
    """A small version of benchmarks/bit_flips.py."""
    truth = batches(load_data(folder, size=8, cache=cache))
    stream = stream_data(folder, size=8, cache=cache, workers=1)
    batches(stream)
    stream.pixels.close()
    sound, seed = shutil.copytree(cache, tmp_path / "sound"), random.randrange(10**9)
    print("seed", seed)
    draw = random.Random(seed)
    files = sorted(p.relative_to(cache) for p in cache.rglob("*") if p.is_file())
    assert len(files) == 7
    for _ in range(14):
        shutil.rmtree(cache)
        shutil.copytree(sound, cache)
        file = draw.choice(files)
        flip(cache / file, draw.randrange(8 * (cache / file).stat().st_size))
        streamed = "streams" in file.parts
        read = stream_data if streamed else load_data
        data = read(folder, size=8, cache=cache, **({"workers": 1} if streamed else {}))
        for found, known in zip(batches(data), truth, strict=True):
            assert np.array_equal(found, known), file
