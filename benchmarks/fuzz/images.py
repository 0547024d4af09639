"""Picture files of all formats and depths, mutated; also what is none."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from foreign import foreign_seeds
from mutate import mutated, spliced
from PIL import Image

from foldtune.data.pictures.bands import as_array_file
from foldtune.data.pictures.opening import available
from foldtune.data.store.decode import Decoded, Fit, read_image

_FOREIGN = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) run\n", b"8BPS\0\1", b"%PDF-1.7\n",
    b"\xd7\xcd\xc6\x9a", b"<svg/>", b"GIF89a", b"\x93NUMPY", b"II*\0", b"MM\0*", b"\0\0\1\xb3",
)  # fmt: skip


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Small sound pictures, one of each kind that is read."""
    draw = np.random.default_rng(0)
    grey = draw.integers(0, 255, (12, 16), dtype=np.uint8)
    colour = draw.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    alpha = draw.integers(0, 255, (12, 16, 4), dtype=np.uint8)
    deep = draw.integers(0, 4095, (12, 16), dtype=np.uint16)
    found = [
        _file(Image.fromarray(array), form) for form in available() for array in (grey, colour)
    ]
    found += [_file(Image.fromarray(alpha), form) for form in ("PNG", "WEBP", "TIFF")]
    found += [_file(Image.fromarray(deep), form) for form in ("PNG", "TIFF", "PPM")]
    found += [_file(Image.fromarray(deep.astype(np.float32)), "TIFF")]
    found += [_file(Image.fromarray(colour), "TIFF", compression=how)
              for how in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]  # fmt: skip
    found += [_file(Image.fromarray(colour).quantize(8), form) for form in ("PNG", "GIF", "TIFF")]
    found += [as_array_file(array) for array in (grey, deep, np.dstack([alpha, grey]))]
    found += [_deep_png(draw.integers(0, 4095, (6, 5, n)).astype(">u2")) for n in (2, 3, 4)]
    return (*found, *_many_channels(draw), *foreign_seeds(draw))


def make(rng: random.Random) -> dict[str, bytes]:
    data = rng.choice(seeds())
    kind = rng.random()
    if kind < 0.05:
        data = rng.choice(_FOREIGN) + rng.randbytes(rng.randrange(300))
    elif kind < 0.12:
        data = spliced(rng, data, rng.choice(seeds()))
    elif kind < 0.25 and data.startswith(b"\x89PNG"):
        data = _resized_png(rng, data)
    else:
        data = mutated(rng, data)
    return {"a.png": data}


def read(folder: Path, rng: random.Random) -> None:
    fit = Fit(
        rng.choice((1, 16, 64)), rng.choice(("squash", "crop")),
        rng.choice(("nearest", "bicubic", "bilinear-plain")), channels=rng.choice((3, 3, 1, 4)),
        range=rng.choice(("own", "header", (0, 4095))),
        depth=rng.choice(("uint8", "uint8", "uint16", "float32")),
    )  # fmt: skip
    told: Any = read_image(lambda name: (folder / name).read_bytes(), "a.png", fit)
    if isinstance(told, Decoded):
        assert told.pixels.shape == fit.shape
        assert told.pixels.dtype == fit.depth
    else:
        assert isinstance(told, str)
        assert told


def _file(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _resized_png(rng: random.Random, data: bytes) -> bytes:
    """A PNG that says to have another size, with a sound check sum."""
    sides = [rng.choice((0, 1, 2, 20_000, 13_300, 2**31 - 1)) for _ in range(2)]
    head = data[12:16] + struct.pack(">II", *sides) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def _deep_png(samples: np.ndarray) -> bytes:
    height, width, channels = samples.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0),
        b"IDAT": zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples)),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _many_channels(draw: np.random.Generator) -> list[bytes]:
    import tifffile

    found = []
    for dtype in (np.uint8, np.uint16, np.float32):
        file = io.BytesIO()
        samples = draw.random((6, 5, 6)) * 200
        tifffile.imwrite(
            file, samples.astype(dtype), photometric="minisblack", planarconfig="contig"
        )
        found.append(file.getvalue())
    return found
