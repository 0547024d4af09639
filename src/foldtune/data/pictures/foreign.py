"""HEIC and JPEG XL: pictures that Pillow does not read, by packages that only some users need.

Each is told by its first bytes, and its size from its header before anything is decoded.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from foldtune.data.pictures.opening import too_large
from foldtune.errors import InputError, NotInstalled

_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_BARE, _BOXED = b"\xff\x0a", b"\x00\x00\x00\x0cJXL "  # how a JPEG XL begins
# Width to height of a JPEG XL by the three bits that tell it (ISO/IEC 18181-1, table A.4).
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True)
class Kind:
    """suffixes: of its files; package: that reads it; extra: of foldtune, which brings that."""

    name: str
    suffixes: tuple[str, ...]
    package: str
    extra: str

    @property
    def readable(self) -> bool:
        """Whether the package is installed."""
        return _is_there(self.package)

    @property
    def cure(self) -> str:
        return f"pip install 'foldtune[{self.extra}]', or convert them to PNG"


HEIC = Kind("HEIC", (".heic", ".heif", ".hif"), "pi_heif", "heic")
JXL = Kind("JPEG XL", (".jxl",), "imagecodecs", "jxl")
DICOM = Kind("DICOM", (".dcm", ".dicom"), "pydicom", "dicom")
KINDS = (HEIC, JXL, DICOM)
BY_SUFFIX: Mapping[str, Kind] = {suffix: kind for kind in KINDS for suffix in kind.suffixes}


@cache
def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # it was loaded by somebody who said that it is not there
        return False


def kind_of(data: bytes) -> Kind | None:
    """HEIC, JPEG XL or DICOM by the first bytes; None for what Pillow is asked for."""
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS and b"avif" not in data[8:64]:
        return HEIC
    if data.startswith((_BARE, _BOXED)):
        return JXL
    return DICOM if data[128:132] == b"DICM" else None


def read_foreign(kind: Kind, data: bytes, max_pixels: int) -> np.ndarray:
    """The samples of a HEIC or a JPEG XL, upright, of an animation the first frame.

    (height, width) or (height, width, channels), the last of 2 or 4 being alpha; uint8, or uint16
    or float32 where the file has more than 8 bits. Raises NotInstalled without the package,
    InputError for more pixels than `max_pixels` and for a damaged file.
    """
    try:
        return _READERS[kind.name](data, max_pixels)
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly every type there is
        raise InputError(f"a damaged {kind.name} ({str(error)[:80]})") from error


def opened_heic(data: bytes) -> Any:
    """A HEIC of which only the header is read yet."""
    try:
        import pi_heif
    except ImportError:
        raise NotInstalled("a HEIC picture", HEIC.package, HEIC.extra) from None
    return pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)


def _heic(data: bytes, max_pixels: int) -> np.ndarray:
    found = opened_heic(data)
    width, height = found.size
    if width * height > max_pixels:
        raise too_large(width * height, max_pixels)
    return np.asarray(found)[:, :width].copy()  # a row may be padded


def _jxl(data: bytes, max_pixels: int) -> np.ndarray:
    try:
        import imagecodecs
    except ImportError:
        raise NotInstalled("a JPEG XL picture", JXL.package, JXL.extra) from None
    width, height = jxl_size(data)
    if width * height > max_pixels:
        raise too_large(width * height, max_pixels)
    found: np.ndarray = imagecodecs.jpegxl_decode(data, index=0)
    if found.dtype == np.float16:
        found = found.astype(np.float32)
    return found


_READERS: Mapping[str, Callable[[bytes, int], np.ndarray]] = {"HEIC": _heic, "JPEG XL": _jxl}


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG XL, bare or in boxes (ISO/IEC 18181-1, A.3). Raises InputError
    where they are not told."""
    bits = _Bits(_codestream(data)[2:14])
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if ratio == 0:
        return _side(bits, small), height
    wide, tall = _RATIOS[ratio - 1]
    return height * wide // tall, height


def _side(bits: _Bits, small: int) -> int:
    if small:
        return (bits.take(5) + 1) * 8
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


def _codestream(data: bytes) -> bytes:
    """The start of the codestream: all of a bare file, or what is in the first box of pictures."""
    if data.startswith(_BARE):
        return data[:64]
    at = 0
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        head = 16 if size == 1 else 8
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if name in (b"jxlc", b"jxlp"):
            start = at + head + 4 * (name == b"jxlp")
            return data[start : start + 64]
        if size < head:
            break
        at += size
    raise InputError("a JPEG XL without a picture in it")


class _Bits:
    """Bits of bytes, the lowest of each first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise InputError("a JPEG XL that is cut off in its header")
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken
