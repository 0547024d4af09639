"""The cache is listed, and shrinks from its least recently used end."""

import os
import time

import pytest

from foldtune.data import load_data
from foldtune.data.store.cachesize import contents, parse_size, shrink
from foldtune.data.streaming import stream_data
from foldtune.errors import InputError


@pytest.fixture
def cache(make_folder, tmp_path):
    folder = make_folder({"a": 4, "b": 4})
    cache = tmp_path / "cache"
    for size in (8, 64):
        load_data(folder, size=size, cache=cache)
    stream_data(folder, size=8, cache=cache).pixels[[0]]
    return cache


def age(cache):
    """Make everything old, larger entries older."""
    for one in contents(cache):
        sign = "entry.json" if one.kind == "entry" else "state.raw"
        when = time.time() - 3600 - one.bytes
        os.utime(one.folder / sign, (when, when))


def test_entries_and_streams_are_listed(cache):
    assert sorted((one.kind, one.images) for one in contents(cache)) == [
        ("entry", 8), ("entry", 8), ("stream", 8),
    ]  # fmt: skip


def test_the_least_recently_used_go_first(cache, make_folder):
    age(cache)
    kept = contents(cache)
    told = shrink(cache, sum(one.bytes for one in kept) - 1)
    assert told["removed"] == 1
    assert contents(cache) == kept[:-1]


def test_opening_an_entry_makes_it_recent(cache, tmp_path):
    age(cache)
    oldest = contents(cache)[-1]
    load_data(tmp_path / "photos", size=64, cache=cache)
    assert contents(cache)[0].folder == oldest.folder


def test_what_was_just_used_is_kept_unless_all_must_go(cache):
    assert shrink(cache, 1)["removed"] == 0
    assert shrink(cache, 0)["left"] == 0
    assert contents(cache) == []


@pytest.mark.parametrize(("text", "size"), [("2k", 2048), ("1.5 GiB", 1610612736), ("7", 7)])
def test_sizes_are_parsed(text, size):
    assert parse_size(text) == size


def test_a_wrong_size_is_refused():
    with pytest.raises(InputError, match="'much' is no size"):
        parse_size("much")
