"""DICOM, by pydicom: one frame, its values seen through the window that its header names."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from foldtune.data.pictures.bands import silent
from foldtune.data.pictures.foreign import DICOM, HEIC, JXL, Kind, jxl_size, opened_heic
from foldtune.data.pictures.intensity import FULL
from foldtune.data.pictures.opening import too_large
from foldtune.errors import InputError, NotInstalled

_FRAME = re.compile(r"(.+\.(?:dcm|dicom))#(\d{1,9})", re.IGNORECASE | re.DOTALL)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")


def named_frame(name: str) -> tuple[str, int] | None:
    """The file and the frame of a name such as `scan.dcm#12`, frames counted from 0; else None."""
    found = _FRAME.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def read_dicom(data: bytes, max_pixels: int, frame: int | None = None) -> np.ndarray:
    """The samples of one frame of a DICOM file; frame: which, None where there is one.

    Grey with a window: (height, width) uint16, the window's ends being 0 and 65,535. Without one:
    the values that the header's slope and intercept give (Hounsfield units of a CT), int32 or
    float32. Colours: (height, width, 3) uint8. Raises InputError for several frames of which none
    is named, too many pixels, or what is no picture; NotInstalled without pydicom.
    """
    try:
        import pydicom
    except ImportError:
        raise NotInstalled("a DICOM picture", DICOM.package, DICOM.extra) from None
    try:
        with silent("pydicom"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(pydicom.dcmread(io.BytesIO(data)), max_pixels, frame)
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly every type there is
        raise InputError(f"a damaged DICOM ({str(error)[:80]})") from error


def _read(told: Any, max_pixels: int, frame: int | None) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    if "PixelData" not in told:
        raise InputError("a DICOM file without pixels")
    rows, columns, frames = int(told.Rows), int(told.Columns), int(told.get("NumberOfFrames") or 1)
    if rows * columns > max_pixels:
        raise too_large(rows * columns, max_pixels)
    if frame is None and frames > 1:
        raise InputError(
            f"a DICOM file of {frames} frames; list those to take in a table, as NAME.dcm#0 to "
            f"#{frames - 1}"
        )
    if frame is not None and frame >= frames:
        raise InputError(f"frame {frame} of a DICOM file that has {frames}, counted from 0")
    # Of colours pydicom gives RGB, whatever they are stored as.
    stored = pixel_array(told, index=frame or 0)
    space = str(told.PhotometricInterpretation)
    if space in _GREY and stored.ndim == 2:
        return _grey(told, apply_modality_lut(stored, told), space == "MONOCHROME1")
    if space not in _COLOURS:
        raise InputError(f"DICOM of the colours {space} is not read; convert it to PNG")
    if space == "PALETTE COLOR":
        stored = apply_color_lut(stored, told)
    return stored if stored.dtype == np.uint8 else (stored >> 8).astype(np.uint8)


def size_of(kind: Kind, data: bytes) -> tuple[int, int]:
    """Width and height of a HEIC, a JPEG XL or a DICOM, from its header."""
    if kind is HEIC:
        width, height = opened_heic(data).size
        return width, height
    if kind is JXL:
        return jxl_size(data)
    told = _header(data)
    return int(told.Columns), int(told.Rows)


def is_lossless(data: bytes) -> bool:
    """Whether a DICOM says that its pixels were never compressed with loss."""
    return str(_header(data).get("LossyImageCompression", "00")) != "01"


def _header(data: bytes) -> Any:
    import pydicom

    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)


def _grey(told: Any, values: np.ndarray, inverted: bool) -> np.ndarray:
    window = _first_window(told)
    if window is None:
        whole = np.array_equal(values, np.rint(values))
        found: np.ndarray = values.astype(np.int32 if whole else np.float32)
        return -found if inverted else found
    share = apply_window(values, *window)
    taken: np.ndarray = ((1 - share if inverted else share) * FULL + 0.5).astype(np.uint16)
    return taken


def apply_window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Values through a window, 0 to 1 (DICOM PS3.3, C.11.2.1.2.1 and C.11.2.1.3).

    function: LINEAR, whose ends are centre - 0.5 -+ (width - 1) / 2; LINEAR_EXACT, centre -+ width
    / 2; SIGMOID. Raises InputError for a width that is none.
    """
    least = 1 if function == "LINEAR" else 0
    if width < least or (function != "LINEAR" and width == 0):
        raise InputError(f"a DICOM window of the width {width:g}, which is none")
    real = values.astype(np.float64)
    if function == "SIGMOID":
        found: np.ndarray = 1 / (1 + np.exp(np.clip(-4 * (real - centre) / width, -700, 700)))
        return found
    if function == "LINEAR_EXACT":
        return np.clip((real - centre) / width + 0.5, 0, 1)
    return np.clip((real - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5, 0, 1)


def _first_window(told: Mapping[str, Any]) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window; None where the header names none."""
    centre, width = told.get("WindowCenter"), told.get("WindowWidth")
    if centre is None or width is None:
        return None
    first = [float(v[0] if hasattr(v, "__len__") and not isinstance(v, str) else v)
             for v in (centre, width)]  # fmt: skip
    function = str(told.get("VOILUTFunction") or "LINEAR").upper()
    if not all(map(np.isfinite, first)) or function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InputError("a DICOM window that is none")
    return first[0], first[1], function
