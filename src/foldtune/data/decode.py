"""One image: from the bytes of a file to (size, size, 3) uint8."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from foldtune.errors import InputError, unknown

_PLAIN = "bilinear-plain"
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    _PLAIN: Image.Resampling.BILINEAR,
}
RESIZES = ("squash", "crop")
_SIGNS = (  # what a file begins with, at which byte, and the format that alone begins so
    (b"\xff\xd8\xff", 0, "JPEG"),
    (b"\x89PNG\r\n\x1a\n", 0, "PNG"),
    (b"WEBP", 8, "WEBP"),
)
_LARGEST = 4096  # pixels a side; beyond it a size is a slip of the pen


@dataclass(frozen=True)
class Fit:
    """How an image is brought to a square of `size` pixels.

    squash: both sides to `size`, whatever the aspect (the rule of VTAB). crop: the shorter side to
    size * 256 / 224, rounded, then the central square (the usual rule of ImageNet). Interpolation
    reads all the pixels that a new one covers, but for `bilinear-plain`: the four nearest alone, as
    TensorFlow resizes in VTAB's own pipeline.
    """

    size: int
    resize: str = "squash"
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if not 1 <= self.size <= _LARGEST:
            raise InputError(f"image size {self.size} is not between 1 and {_LARGEST} pixels")
        if self.resize not in RESIZES:
            raise unknown("resize", self.resize, RESIZES)
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)

    @property
    def row_bytes(self) -> int:
        return self.size * self.size * 3

    @property
    def geometry(self) -> tuple[int, str, str]:
        """What of it enters an identity."""
        return self.size, self.resize, self.interpolation

    def apply(self, image: Image.Image) -> Image.Image:
        if self.resize == "squash":
            return self._resized(image, (self.size, self.size))
        width, height = image.size
        short = round(self.size * 256 / 224)
        if width <= height:
            width, height = short, max(short, round(short * height / width))
        else:
            width, height = max(short, round(short * width / height)), short
        left, top = (width - self.size) // 2, (height - self.size) // 2
        box = (left, top, left + self.size, top + self.size)
        return self._resized(image, (width, height)).crop(box)

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        method = INTERPOLATIONS[self.interpolation]
        if self.interpolation != _PLAIN:
            return image if image.size == size else image.resize(size, method)
        scale = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
        return image.transform(size, Image.Transform.AFFINE, scale, method)


def decode(data: bytes, fit: Fit) -> np.ndarray:
    """The image in `data` as (size, size, 3) uint8; raises whatever the decoder raises."""
    return np.asarray(fit.apply(upright_rgb(data)))


def upright_rgb(data: bytes) -> Image.Image:
    """The image in `data` at its own size, turned as its EXIF says, as 8-bit RGB."""
    with _opened(data) as image:
        image.load()
        upright: Image.Image = image
        # A camera's broken EXIF block is no reason to lose a sound picture.
        with contextlib.suppress(Exception):
            if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be copied
                upright = ImageOps.exif_transpose(image)
        return to_rgb(upright)


def _opened(data: bytes) -> Image.Image:
    """The image in `data`, by the decoder that its first bytes name, or by the one that takes it.

    Pillow tries one decoder after the other, and WebP's is among the last: three quarters of the
    time to decode a WebP of 64 pixels (Pillow 13).
    """
    named = [form for sign, at, form in _SIGNS if data.startswith(sign, at)]
    with contextlib.suppress(UnidentifiedImageError):
        if named:
            return Image.open(io.BytesIO(data), formats=named)
    return Image.open(io.BytesIO(data))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB.

    Transparent pixels are composited on white: that is how cut-outs are shown, while dropping the
    alpha channel would bring up whatever colours the drawing program left below it. 16-bit grey
    is scaled by its full range, never by the image's own, so that brightness stays comparable;
    32-bit floats are read as 0..1 if none is above 1, else as 0..255. Of an animation, the first
    frame.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        real = np.nan_to_num(np.asarray(image))
        scale = 255.0 if real.max() <= 1 else 1.0
        return Image.fromarray(np.clip(real * scale + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        full = image.convert("RGBA")
        white = Image.new("RGBA", full.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, full).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def read_image(read: Callable[[str], bytes], name: str, fit: Fit) -> np.ndarray | str:
    """The decoded image, or in a few words why there is none."""
    try:
        data = read(name)
        return decode(data, fit) if data else "empty file"
    except UnidentifiedImageError:
        return "not an image"
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # damaged files raise nearly every type there is
        if "truncated" in str(error).lower():
            return "truncated"
        text = " ".join(str(error).split())[:80]
        return text or type(error).__name__


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Refuse files that are cut off, even if the caller told Pillow to pass them; no warnings."""
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient
