"""HEIC and JPEG XL are read by their packages, sized from their headers, refused where damaged."""

import base64
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest

from data.conftest import encoded
from foldtune.data.pictures.foreign import HEIC, JXL, jxl_size, kind_of
from foldtune.data.pictures.read import read_picture
from foldtune.data.sources.layout import SUFFIXES
from foldtune.data.store.decode import Fit, decode
from foldtune.data.tools.check import header
from foldtune.errors import InputError

PHOTO = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAADoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABo"
    "dmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEA"
    "GEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAA"
    "AwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAAB"
    "AAAAIAAAAAEAAAAAAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAEJt"
    "ZGF0AAAANigBr1jm9Oq//+UNf/5s/IfJrL9f/qr1X7QyT/sg1UktsDUYu8ag8XIQtIGEAZNtq+SEXJaxwA=="
)
LEFT, RIGHT = (200, 30, 40), (20, 60, 210)  # what was encoded, in halves


def lossless(samples, **more):
    return imagecodecs.jpegxl_encode(np.ascontiguousarray(samples), lossless=True, **more)


def drawn(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def test_a_heic_is_read_upright_with_its_colours():
    assert kind_of(PHOTO) is HEIC
    pixels = decode(PHOTO, Fit(8)).astype(int)
    for column, colour in ((1, LEFT), (6, RIGHT)):
        assert np.abs(pixels[4, column] - colour).max() < 12  # it is compressed with loss
    assert header(PHOTO) == ((64, 32), "HEIC", False)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((9, 7), "uint8"), ((9, 7, 3), "uint8"), ((9, 7, 4), "uint8"), ((9, 7), "uint16"),
     ((9, 7, 3), "uint16"), ((9, 7), "float32"), ((9, 7, 3), "float32")],
)  # fmt: skip
def test_a_lossless_jpeg_xl_has_the_samples_that_were_saved(shape, dtype):
    samples = drawn(shape, dtype)
    read = read_picture(lossless(samples))
    found = read.samples if read.wide is None else read.wide
    assert found.dtype == dtype
    assert np.array_equal(found.reshape(shape), samples)


def test_a_jpeg_xl_in_boxes_and_a_bare_one_are_one_picture():
    samples = drawn((16, 24, 3), "uint8")
    bare, boxed = lossless(samples, usecontainer=False), lossless(samples, usecontainer=True)
    assert boxed.startswith(b"\0\0\0\x0cJXL ")
    assert kind_of(bare) is kind_of(boxed) is JXL
    assert np.array_equal(decode(bare, Fit(16)), decode(boxed, Fit(16)))


@pytest.mark.parametrize(
    "size",
    [(8, 8), (256, 256), (264, 8), (1, 1), (640, 480), (1200, 1000), (30, 20), (160, 90), (50, 40),
     (20, 10), (513, 700), (8191, 2)],
)  # fmt: skip
def test_the_size_of_a_jpeg_xl_is_that_of_its_picture(size):
    data = lossless(np.zeros((size[1], size[0]), np.uint8), effort=1)
    assert jxl_size(data) == size
    assert header(data) == (size, "JPEG XL", False)


@pytest.mark.parametrize("data", [PHOTO, lossless(np.zeros((32, 64), np.uint8))])
def test_more_pixels_than_allowed_are_refused_by_the_header(data):
    with pytest.raises(InputError, match=r"2,048 pixels are more than 2,047"):
        decode(data, Fit(8, max_pixels=2047))


@pytest.mark.parametrize("data", [PHOTO[:300], PHOTO[:40], lossless(drawn((9, 7), "uint8"))[:20],
                                  b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"])  # fmt: skip
def test_a_damaged_one_is_refused_in_a_line(data):
    with pytest.raises(InputError, match=r"HEIC|JPEG XL"):
        decode(data, Fit(8))


def test_without_its_package_a_kind_is_not_read_and_the_refusal_says_what_to_install(tmp_path):
    for n in range(5):
        (tmp_path / "oak").mkdir(exist_ok=True)
        (tmp_path / "dog").mkdir(exist_ok=True)
        (tmp_path / "oak" / f"{n}.png").write_bytes(encoded(n))
        (tmp_path / "dog" / f"{n}.heic").write_bytes(PHOTO)
    code = (
        "import sys; sys.modules['pi_heif'] = None\n"
        "from foldtune.data.sources.source import read_source\n"
        f"try: read_source({str(tmp_path)!r})\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "class dog" in done.stdout, done.stderr
    assert "5 files, none of a kind that is read (.heic)" in done.stdout
    assert "pip install 'foldtune[heic]'" in done.stdout


def test_the_suffixes_of_installed_packages_are_listed():
    assert {".heic", ".jxl", ".dcm"} <= SUFFIXES
