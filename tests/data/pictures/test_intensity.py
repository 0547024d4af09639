"""Samples of more than 8 bits are read by the set's range where their file's is hardly used."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from data.conftest import encoded
from foldtune.data import load_data
from foldtune.data.pictures.deep import deep_samples
from foldtune.data.pictures.intensity import (
    HEADER,
    OWN,
    PERCENTILE,
    Measured,
    Span,
    as_bytes,
    check_setting,
    measure,
    parse_setting,
    scale_samples,
)
from foldtune.data.streaming import stream_data
from foldtune.errors import InputError

SHAPE = (24, 24)


def field(seed, low, high, channels=()):
    """A smooth random picture of real values, which reaches both ends."""
    raw = np.random.default_rng(seed).random((*SHAPE, *channels))
    raw = (raw - raw.min()) / (raw.max() - raw.min())
    return low + raw * (high - low)


def saved(array, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, form)
    return file.getvalue()


def deep_png(samples):
    """An RGB, RGBA or grey-and-alpha PNG of 16 bits, written by hand: Pillow writes none."""
    import struct
    import zlib

    height, width, channels = samples.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(
        b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")  # fmt: skip


def write(folder, make, count=6, suffix=".png"):
    for label in ("dim", "lit"):
        (folder / label).mkdir(parents=True)
        for n in range(count):
            (folder / label / f"{n}{suffix}").write_bytes(make(100 * (label == "lit") + n))
    return folder


def load(folder, **more):
    return load_data(folder, size=24, workers=1, cache=folder.parent / "cache", **more)


GREY = {  # name: lowest and highest value, whether the file's own full range is kept
    "12 bits": (0, 4095, np.uint16, ".png", False),
    "14 bits": (0, 16383, np.uint16, ".png", False),
    "values to 800": (0, 800, np.uint16, ".png", False),
    "values to 255": (0, 255, np.uint16, ".png", False),
    "1000 +- 60": (940, 1060, np.uint16, ".png", False),
    "16 bits": (0, 65535, np.uint16, ".png", True),
    "half of 16 bits": (0, 32767, np.uint16, ".png", True),
    "12 bits in TIFF": (0, 4095, np.uint16, ".tif", False),
    "32 bits to 255": (0, 255, np.int32, ".tif", False),
    "32 bits, large": (0, 2_000_000, np.int32, ".tif", False),
    "Hounsfield": (-1000, 3000, np.int32, ".tif", False),
    "floats to 1": (0, 1, np.float32, ".tif", True),
    "floats to 255": (0, 255, np.float32, ".tif", True),
    "floats to 0.01": (0, 0.01, np.float32, ".tif", False),
    "floats to 4095": (0, 4095, np.float32, ".tif", False),
    "floats about 0": (-1, 1, np.float32, ".tif", False),
}


@pytest.mark.parametrize("name", GREY)
def test_no_set_is_crushed(tmp_path, name):
    low, high, dtype, suffix, kept = GREY[name]
    form = {".png": "PNG", ".tif": "TIFF"}[suffix]
    folder = write(
        tmp_path / "set", lambda n: saved(field(n, low, high).astype(dtype), form), suffix=suffix
    )
    data = load(folder)
    wanted = 115 if high - low == 120 or name == "half of 16 bits" else 200  # grey levels
    shown = as_bytes(data.pixels[:])
    assert len(np.unique(shown)) >= wanted
    assert shown.min() <= 2
    assert shown.max() >= (126 if name == "half of 16 bits" else 253)
    assert (data.facts["range"] is None) == kept
    assert any("read as" in line for line in data.facts["warnings"]) != kept
    plain = load(folder, range=HEADER)
    assert (plain.identity == data.identity) == kept
    if kept:
        assert np.array_equal(plain.pixels[:], data.pixels[:])
    json.dumps(data.facts)


def test_brightness_compares_over_the_set(tmp_path):
    tops = {n: 400 + 100 * n for n in range(6)}
    folder = write(
        tmp_path / "set", lambda n: saved(np.full(SHAPE, tops[n % 100], np.uint16)), suffix=".png"
    )
    data = load(folder, conflicts="keep")
    assert data.facts["range"] == [400.0, 900.0]
    found = {data.names[row]: int(data.pixels[row].max()) for row in range(len(data.labels))}
    assert [found[f"dim/{n}.png"] for n in range(6)] == [n * 13107 for n in range(6)]


def test_a_range_that_is_given_is_the_one_and_states_itself(tmp_path):
    folder = write(tmp_path / "set", lambda n: saved(field(n, 0, 800).astype(np.uint16)))
    given, own = load(folder, range=(0, 1600)), load(folder)
    assert given.facts["range"] == [0.0, 1600.0]
    assert given.pixels[:].max() in (32767, 32768)
    assert len({given.identity, own.identity, load(folder, range=HEADER).identity}) == 3
    assert load(folder, range=(0, 800)).identity == own.identity
    assert np.array_equal(load(folder, range=(0, 800)).pixels[:], own.pixels[:])
    assert given.facts["split_hash"] == own.facts["split_hash"]


def test_a_hot_pixel_does_not_crush_the_rest(tmp_path):
    def hot(n):
        values = field(n, 940, 1060)
        values[0, 0] = 4095
        return saved(values.astype(np.uint16))

    data = load(write(tmp_path / "set", hot))
    low, high = data.facts["range"]
    assert 940 <= low < 945
    assert 1055 < high <= 1060
    assert any("what lies beyond is clipped" in line for line in data.facts["warnings"])
    percentile = load(tmp_path / "set", range=PERCENTILE)
    assert percentile.facts["range"] == [low, high]


def test_header_says_what_it_costs(tmp_path):
    folder = write(tmp_path / "set", lambda n: saved(field(n, 0, 800).astype(np.uint16)))
    data = load(folder, range=HEADER)
    assert data.pixels[:].max() == 800
    assert any("use 0..800 of 65535, 0.012 of the file's range" in w
               for w in data.facts["warnings"])  # fmt: skip


def test_images_of_8_bits_beside_wide_ones_stay_as_they_are(tmp_path):
    folder = write(tmp_path / "set", lambda n: saved(field(n, 0, 800).astype(np.uint16)))
    (folder / "dim" / "x.png").write_bytes(encoded(1))
    data = load(folder)
    (row,) = [r for r, name in enumerate(data.names) if name == "dim/x.png"]
    expected = np.asarray(Image.open(io.BytesIO(encoded(1))).resize((24, 24), 3)).astype(int)
    # Resized at 16 bits, where Pillow rounds to 8 after each of two passes.
    assert np.abs(data.pixels[row] / 257 - expected).max() < 1.51
    assert data.facts["ledger"]["range"]["images"] == 12


def test_a_set_of_8_bits_has_no_range(make_folder, tmp_path):
    data = load_data(make_folder({"a": 5, "b": 5}), size=8, cache=tmp_path / "c", workers=1)
    assert data.facts["range"] is None
    assert "range" not in data.facts["ledger"]
    again = load_data(tmp_path / "photos", size=8, cache=tmp_path / "d", workers=1, range=HEADER)
    assert again.identity == data.identity


def test_a_killed_build_and_many_processes_find_the_same_range(tmp_path):
    folder = write(tmp_path / "set", lambda n: saved(field(n, 0, 800).astype(np.uint16)), 40)
    one = load(folder)
    two = load_data(folder, size=24, workers=2, cache=tmp_path / "other")
    assert one.identity == two.identity
    assert np.array_equal(one.pixels[:], two.pixels[:])


def test_a_stream_refuses_what_it_would_crush_and_takes_a_range(tmp_path):
    folder = write(tmp_path / "set", lambda n: saved(field(n, 0, 800).astype(np.uint16)))
    stream = stream_data(folder, size=24, workers=1, cache=tmp_path / "c", seed=None)
    with pytest.raises(InputError, match="give --range LOW HIGH"):
        stream.pixels[np.arange(2)]
    stream.pixels.close()
    ranged = stream_data(folder, size=24, workers=1, cache=tmp_path / "c", range=(0, 800))
    whole = load(folder, range=(0, 800))
    assert ranged.identity != whole.identity  # a stream keeps 8 bits of each
    rows = np.arange(len(ranged.labels))
    assert ranged.names == whole.names
    assert np.abs(ranged.pixels[rows] - whole.pixels[rows] / 257).max() <= 0.5 + 1e-9
    ranged.pixels.close()


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colours_are_read_whole(channels):
    samples = field(1, 0, 65535, (channels,)).astype(np.uint16)
    found, alpha = deep_samples(deep_png(samples), 10**6)
    colours = samples[..., 0] if channels == 2 else samples[..., :3]
    assert np.array_equal(found, colours)
    assert (alpha is None) == (channels == 3)
    if alpha is not None:
        assert np.array_equal(alpha, samples[..., -1] >> 8)


@pytest.mark.parametrize("top", [800, 4095])
def test_colours_of_12_bits_in_16_are_not_crushed(tmp_path, top):
    folder = write(tmp_path / "set", lambda n: deep_png(field(n, 0, top, (3,)).astype(np.uint16)))
    data = load(folder)
    assert data.facts["range"] == [0.0, float(top)]
    assert len(np.unique(data.pixels[:])) > 0.95 * top  # of so many levels nearly all occur
    assert len({data.keys[:, :16].tobytes()[i : i + 16] for i in range(0, 192, 16)}) == 12


def test_colours_of_all_16_bits_have_the_keys_of_their_higher_eight(tmp_path):
    samples = [field(n, 0, 65535, (3,)).astype(np.uint16) for n in range(106)]
    folder = write(tmp_path / "set", lambda n: deep_png(samples[n]))
    eight = write(tmp_path / "eight", lambda n: saved((samples[n] >> 8).astype(np.uint8)))
    deep, plain = load(folder), load(eight)
    assert np.array_equal(deep.keys[:, :16], plain.keys[:, :16])
    assert deep.facts["split_hash"] == plain.facts["split_hash"]
    assert deep.identity != plain.identity


@pytest.mark.parametrize(
    ("array", "taken"),
    [
        (np.zeros((4, 4), np.uint16), (0, 1)),
        (np.full((4, 4), 7, np.uint16), (7, 8)),
        (np.full((4, 4), np.nan, np.float32), (0, 1)),
        (np.array([[np.inf, -np.inf, 3.0, 900.0]], np.float32), (3, 900)),
    ],
)
def test_a_flat_or_odd_picture_has_a_range_that_rises(array, taken):
    measured = measure([Span.of(array)], OWN)
    assert measured.taken == taken
    assert scale_samples(array, measured.taken).dtype == np.uint8


def test_bytes_are_those_of_a_plain_scaling():
    rng = np.random.default_rng(0)
    for array in (rng.integers(0, 5000, (9, 9), dtype=np.uint16), rng.normal(0, 9, (9, 9, 3))):
        plain = np.clip((array.astype(float) - 3) / 97, 0, 1) * 255
        assert np.abs(scale_samples(array, (3, 100)) - plain).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    "words", [("4", "3"), ("0", "inf"), ("a", "b"), ("owm",), ("1", "2", "3"), ("nan", "2")]
)
def test_a_range_that_is_none_is_refused(words):
    with pytest.raises(InputError, match="range"):
        parse_setting(words)


def test_settings_are_parsed():
    assert parse_setting(("0", "4095")) == (0.0, 4095.0)
    assert parse_setting(()) == OWN
    assert check_setting("header") == HEADER
    span = Span.of(np.arange(9, dtype=np.uint16))
    assert Span.read(json.loads(json.dumps(span.json()))) == span
    assert Measured(1, 0, 1, (0, 1), True, None).json()["read_as"] == HEADER
