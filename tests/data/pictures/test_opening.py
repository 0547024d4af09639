"""Pictures are opened in one place, by formats that are named, within a budget of pixels."""

import ast
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import foldtune
from data.conftest import encoded, picture
from foldtune.data.pictures.opening import FORMATS, available, open_picture, strict
from foldtune.data.store.decode import Fit, decode, read_image
from foldtune.errors import InputError

SOURCE = Path(foldtune.__file__).parent
POSTSCRIPT = (  # for which plain Pillow (13.0) starts gs
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n0 0 8 8 rectfill\nshowpage\n"
)
EXECUTED = ("EPS", "WMF", "PSD", "FLI", "MPEG", "GRIB", "HDF5", "BUFR", "SPIDER")


def of(form, **options):
    file = io.BytesIO()
    picture(1).save(file, form, **options)
    return file.getvalue()


def _opens(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("open", "Parser")
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("Image", "PIL", "ImageFile")
    ]


def test_nothing_else_opens_a_picture():
    found = {p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*.py") if _opens(p)}
    assert found == {"data/pictures/opening.py"}


def test_every_call_of_pillow_names_its_formats():
    tree = ast.parse((SOURCE / "data/pictures/opening.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)
             and ast.unparse(n.func) == "Image.open"]  # fmt: skip
    assert calls
    assert all("formats" in {word.arg for word in call.keywords} for call in calls)
    assert not set(FORMATS) & set(EXECUTED)


def test_postscript_is_refused_and_no_program_is_started(tmp_path):
    mark, gs = tmp_path / "mark", tmp_path / "gs"
    gs.write_text(f"#!/bin/sh\ntouch {mark}\n")
    gs.chmod(gs.stat().st_mode | stat.S_IXUSR)
    dos = b"\xc5\xd0\xd3\xc6" + bytes(28) + POSTSCRIPT
    names = ["a.png", "a.jpg", "a.tif", "b.png", "b.jpg", "b.eps"]
    for name in names:
        (tmp_path / name).write_bytes(POSTSCRIPT if name.startswith("a") else dos)
    code = (
        "import os; from pathlib import Path; "
        "from foldtune.data.store.decode import Fit, read_image; "
        f"os.chdir({str(tmp_path)!r}); "
        f"[print(read_image(lambda n: Path(n).read_bytes(), n, Fit(8))) for n in {names}]"
    )
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True
    )
    assert set(done.stdout.splitlines()) == {
        "it is PostScript, a program and no picture: convert it to PNG"
    }
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"8BPS" + bytes(60), "Photoshop"),
        (b"%PDF-1.7" + bytes(60), "PDF"),
        (b"\xd7\xcd\xc6\x9a" + bytes(60), "Windows metafile"),
        (b"<svg xmlns=''></svg>", "SVG"),
        (bytes(128) + b"DICM" + bytes(60), "DICOM"),
        (b"\xff\x0a" + bytes(60), "JPEG XL"),
        (b"\0\0\0\x18ftypheic" + bytes(400), "HEIC"),
        (b"SIMPLE  =                    T" + bytes(60), "not an image"),
        (b"GRIB" + bytes(60), "not an image"),
        (b"\x00\x00\x01\xb3" + bytes(60), "not an image"),
        (b"\0\0\0\0\x11\xaf" + bytes(200), "not an image"),
        (b"/* XPM */", "not an image"),
        (b"", "empty file"),
        (b"\0", "not an image"),
        (b"hello", "not an image"),
    ],
)
def test_what_is_not_read_is_told_by_its_bytes(data, said):
    assert said in read_image(lambda name: data, "a.png", Fit(8))


@pytest.mark.parametrize("form", available())
def test_every_format_of_the_list_is_read(form):
    assert decode(of(form), Fit(8)).shape == (8, 8, 3)


def _bomb(width, height):
    """A PNG that says of itself to be so large, without pixels."""
    data = bytearray(encoded(1))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("shape", [(30_000, 30_000), (14_000, 14_000), (2**31 - 1, 1)])
def test_more_pixels_than_the_budget_are_refused_by_the_header(shape):
    told = read_image(lambda name: _bomb(*shape), "a.png", Fit(8))
    assert "pixels" in told


def test_the_budget_can_be_raised_and_lowered():
    data = of("PNG")  # 16 x 12
    with pytest.raises(InputError, match=r"192 pixels are more than 191; .*--max-pixels 192"):
        decode(data, Fit(4, max_pixels=191))
    assert decode(data, Fit(4, max_pixels=192)).shape == (4, 4, 3)


def test_a_raised_budget_raises_pillows_own_and_gives_it_back():
    before = Image.MAX_IMAGE_PIXELS
    with strict(10 * before):
        assert 10 * before <= 2 * Image.MAX_IMAGE_PIXELS
        assert open_picture(_bomb(20_000, 20_000), 10 * before).size == (20_000, 20_000)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "bilinear-plain"])
@pytest.mark.parametrize("shape", [(60, 9), (9, 60), (1, 500)])
def test_the_centre_alone_is_the_centre_of_the_whole(monkeypatch, interpolation, shape):
    from foldtune.data.store import decode as module

    data, fit = encoded_of(shape), Fit(20, "crop", interpolation)
    whole = decode(data, fit).astype(int)
    monkeypatch.setattr(module, "_WHOLE", 0)
    # Another order of the same sums: a rounding of the last bit, of nearest a neighbour on a tie.
    apart = np.abs(decode(data, fit) - whole)
    assert np.median(apart) <= 1
    assert (apart <= 2).mean() > 0.9


def encoded_of(shape):
    file = io.BytesIO()
    picture(1, shape).save(file, "PNG")
    return file.getvalue()


@pytest.mark.skipif(os.name != "posix", reason="resource is not there")
def test_the_crop_of_one_column_stays_small():
    code = """
import io, resource
from PIL import Image
from foldtune.data.store.decode import Fit, decode
file = io.BytesIO(); Image.new("RGB", (1, 20000), 7).save(file, "PNG")
decode(file.getvalue(), Fit(8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert decode(file.getvalue(), Fit(224, "crop")).shape == (224, 224, 3)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    env = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert int(done.stdout) < 64, done.stderr  # MiB; 5,300 when all of it was resized first


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avif_of_a_general_brand_is_no_heic():
    data = bytearray(of("AVIF"))
    data[8:12] = b"mif1"
    assert decode(bytes(data), Fit(8)).shape == (8, 8, 3)
