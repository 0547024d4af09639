"""Pictures of any number of channels: TIFF through tifffile, and arrays in the form of .npy."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

import numpy as np

from foldtune.data.pictures.deep import TIFF
from foldtune.data.pictures.intensity import FULL, Range
from foldtune.data.pictures.opening import too_large
from foldtune.errors import InputError, NotInstalled

MOST = 64  # channels
_NPY = b"\x93NUMPY"
KINDS = ("uint8", "uint16", "int16", "int32", "float32")
# What a TIFF may hold besides, and what it is read as: nothing is lost but of floats of 64 bits.
_WIDENED = {"int8": "int32", "int16": "int32", "float16": "float32", "float64": "float32"}
_OF_TIFF = (*KINDS, *_WIDENED, "uint32")


def is_array(data: bytes) -> bool:
    """Whether these are the bytes of an .npy, as readers of arrays give them."""
    return data.startswith(_NPY)


def is_tiff(data: bytes) -> bool:
    return data.startswith(TIFF)


def as_array_file(samples: np.ndarray) -> bytes:
    """(height, width) or (height, width, channels) as a file that `read_bands` reads."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(samples), allow_pickle=False)
    return file.getvalue()


def read_bands(data: bytes, max_pixels: int) -> np.ndarray:
    """The samples of an .npy or of a TIFF's first page, (height, width, channels).

    uint8, uint16, int32 or float32, of a TIFF uint32, too. Raises InputError for other types, more
    than 64 channels and more than `max_pixels` pixels, before they are allocated; else whatever a
    damaged file raises.
    """
    found = _array(data, max_pixels) if is_array(data) else _tiff(data, max_pixels)
    return found.astype(_WIDENED.get(found.dtype.name, found.dtype), copy=False)


def _array(data: bytes, max_pixels: int) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = read[version[0]](file)
    if fortran or len(shape) not in (2, 3):
        raise InputError(f"an array of shape {shape} is no picture (height, width, channels)")
    _check(shape if len(shape) == 3 else (*shape, 1), dtype, max_pixels)
    flat = np.frombuffer(data, dtype, count=int(np.prod(shape)), offset=file.tell())
    return flat.reshape(shape if len(shape) == 3 else (*shape, 1))


def _tiff(data: bytes, max_pixels: int) -> np.ndarray:
    try:
        import tifffile
    except ImportError:
        raise NotInstalled("a TIFF of several channels", "tifffile", "tiff") from None
    with silent("tifffile"), tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        axes, shape = page.axes, tuple(page.shape)
        if axes not in ("YX", "YXS", "SYX"):
            raise InputError(f"a TIFF of axes {axes} is no picture (height, width, channels)")
        order = {"YX": (0, 1), "YXS": (0, 1, 2), "SYX": (1, 2, 0)}[axes]
        placed = tuple(shape[axis] for axis in order)
        _check(placed if len(placed) == 3 else (*placed, 1), page.dtype, max_pixels, _OF_TIFF)
        found: np.ndarray = page.asarray().transpose(order)
    found = found.astype(found.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(found if found.ndim == 3 else found[:, :, None])


@contextlib.contextmanager
def silent(name: str) -> Iterator[None]:
    """A library that logs a line for every odd tag of a file that is refused in one."""
    log = logging.getLogger(name)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _check(
    shape: tuple[int, ...], dtype: np.dtype | None, max_pixels: int, kinds: tuple[str, ...] = KINDS
) -> None:
    height, width, channels = shape
    if height * width > max_pixels:
        raise too_large(height * width, max_pixels)
    if not 1 <= channels <= MOST or min(height, width) < 1:
        raise InputError(f"{channels} channels of {height} x {width} are no picture")
    if dtype is None or dtype.name not in kinds:
        raise InputError(f"samples of {dtype} are not read; save them as {', '.join(KINDS)}")


def full_range(samples: np.ndarray) -> Range:
    """The range of a file's own type: 16 bits, or floats by 1, or by 255 where one is above 1."""
    if samples.dtype.kind in "iu":
        return 0.0, float(FULL)
    return 0.0, 1.0 if np.nan_to_num(samples).max() <= 1 else 255.0
