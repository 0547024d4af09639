"""The one place that opens pictures: raster formats by name, within a budget of pixels.

Pillow would try every decoder that it knows, whatever a file is called. Some hand the file to other
programs (PostScript to Ghostscript, which executes it), some draw instructions (WMF), some are
relics that hardly anybody reviews (PSD, FLI). What comes from a stranger is given to none of these.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator

from PIL import Image, ImageFile, UnidentifiedImageError

from foldtune.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
MAX_PIXELS = 2 * 89_478_485  # of one picture; what Pillow itself allows at most
_SIGNS = (  # what a file begins with, at which byte, and the format that alone begins so
    (b"\xff\xd8\xff", 0, "JPEG"),
    (b"\x89PNG\r\n\x1a\n", 0, "PNG"),
    (b"WEBP", 8, "WEBP"),
)
_CONVERT = "convert it to PNG"
_FOREIGN = (  # what is told by its first bytes, and why it is not opened
    (b"%!PS", 0, f"PostScript, a program and no picture: {_CONVERT}"),
    (b"\xc5\xd0\xd3\xc6", 0, f"PostScript, a program and no picture: {_CONVERT}"),
    (b"%PDF", 0, f"a PDF and no picture: {_CONVERT}"),
    (b"8BPS", 0, f"a Photoshop document, which is not read: {_CONVERT}"),
    (b"\xd7\xcd\xc6\x9a", 0, f"a Windows metafile and no picture: {_CONVERT}"),
    (b"<svg", 0, f"SVG, drawn and no picture: {_CONVERT}"),
)


def open_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in `data`, of which only the header is read yet.

    By the decoder that its first bytes name, or by the one of `FORMATS` that takes it: Pillow tries
    one after the other, and WebP's is among the last, three quarters of the time to decode a WebP
    of 64 pixels (Pillow 13). Raises UnidentifiedImageError where none takes it, and InputError
    where it is of a kind that is not read or has more than `max_pixels` pixels.
    """
    named = [form for sign, at, form in _SIGNS if data.startswith(sign, at)]
    image = None
    with contextlib.suppress(UnidentifiedImageError):
        if named:
            image = Image.open(io.BytesIO(data), formats=named)
    try:
        if image is None:
            image = Image.open(io.BytesIO(data), formats=available())
    except UnidentifiedImageError:
        why = next((why for sign, at, why in _FOREIGN if data.startswith(sign, at)), None)
        if why is None:
            raise
        raise InputError(f"it is {why}") from None
    width, height = image.size
    if width * height > max_pixels:
        raise too_large(width * height, max_pixels)
    return image


@functools.cache
def available() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with; one that it lacks would be an error."""
    Image.init()
    return tuple(form for form in FORMATS if form in Image.OPEN)


def too_large(pixels: int, most: int) -> InputError:
    """The refusal of a picture by its header."""
    return InputError(
        f"{pixels:,} pixels are more than {most:,}; scale it down, or allow it (--max-pixels "
        f"{pixels})"
    )


@contextlib.contextmanager
def strict(max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Refuse files that are cut off, even if the caller told Pillow to pass them; no warnings.

    max_pixels: raises Pillow's own bound, which is the process's, where more is allowed.
    """
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    bound = Image.MAX_IMAGE_PIXELS
    if bound is not None and max_pixels > 2 * bound:
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = lenient, bound
