"""One image: from the bytes of a file to (size, size, 3) uint8, and to its key at full size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from foldtune.data.identity import image_hash, image_key
from foldtune.data.pictures.opening import MAX_PIXELS, open_picture
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
_WIDE = ("PNG", "PPM")  # formats whose 16 bits Pillow may serve as 32
_COMMON = ("L", "LA", "RGB", "RGBA", "I", "F")
_WHOLE = 1 << 24  # pixels up to which an image is resized whole before its centre is cut out
_LARGEST = 4096  # pixels a side; beyond it a size is a slip of the pen
# 8 bits of 16, by a table: arithmetic on a large scan would hold eight bytes a pixel.
_EIGHT_OF_16 = ((np.arange(65536) + 128) // 257).astype(np.uint8)


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
    max_pixels: int = MAX_PIXELS  # of a picture as stored; more are refused before they are decoded

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
        if width * height > _WHOLE:
            return self._part(image, (image.width / width, image.height / height), box)
        return self._resized(image, (width, height)).crop(box)

    def _part(
        self, image: Image.Image, scale: tuple[float, float], box: tuple[int, int, int, int]
    ) -> Image.Image:
        """A box of the resized image without the rest, to rounding: of a picture of one column all
        would be a hundred thousand times the picture. scale: pixels of the image a new one."""
        method, size = INTERPOLATIONS[self.interpolation], (self.size, self.size)
        left, top = box[0] * scale[0], box[1] * scale[1]
        if self.interpolation == _PLAIN:
            affine = (scale[0], 0, left, 0, scale[1], top)
            return image.transform(size, Image.Transform.AFFINE, affine, method)
        right = min(box[2] * scale[0], image.width)
        bottom = min(box[3] * scale[1], image.height)
        return image.resize(size, method, box=(left, top, right, bottom))

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        method = INTERPOLATIONS[self.interpolation]
        if self.interpolation != _PLAIN:
            return image if image.size == size else image.resize(size, method)
        scale = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
        return image.transform(size, Image.Transform.AFFINE, scale, method)


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image. pixels: (size, size, 3) uint8; hash: of these; key: of its samples at full size
    (`image_key`); file: the hash of the file's bytes, by which it is known again where another
    decoder gives other samples."""

    pixels: np.ndarray
    hash: str
    key: str
    file: str

    @property
    def mark(self) -> str:
        """Key and file's hash in one: by these a picture is looked up."""
        return self.key + self.file


def decode(data: bytes, fit: Fit) -> np.ndarray:
    """The image in `data` as (size, size, 3) uint8; raises whatever the decoder raises."""
    return np.asarray(fit.apply(to_rgb(upright(data, fit.max_pixels))))


def decode_with_key(data: bytes, fit: Fit) -> Decoded:
    """The image in `data`, decoded once for its pixels and its key; raises as `decode` does."""
    image = upright(data, fit.max_pixels)
    samples = stored_samples(image)
    content = image_hash(samples)
    key = image_key(samples, _space(image), content)
    fitted = fit.apply(to_rgb(image))
    pixels = samples if fitted is image else np.asarray(fitted)
    own = content if fitted is image else image_hash(pixels)
    return Decoded(pixels, own, key, image_hash(data))


def key_of(data: bytes) -> str:
    """The key of the image in `data`; raises whatever the decoder raises."""
    image = upright(data)
    return image_key(stored_samples(image), _space(image))


def upright(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image in `data` as stored, at its own size, turned as its EXIF says.

    Its channels are as stored, but for what is a way to store them: a palette gives way to the
    colours that it names, one bit to a byte, a transparent colour to an alpha channel. So the same
    picture has the same samples in every lossless format. Of an animation, the first frame.
    """
    with open_picture(data, max_pixels) as image:
        image.load()
        turned: Image.Image = image
        # A camera's broken EXIF block is no reason to lose a sound picture.
        with contextlib.suppress(Exception):
            if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be copied
                turned = ImageOps.exif_transpose(image)
        wide = turned.mode == "I" and image.format in _WIDE
        if wide or turned.mode.startswith("I;16"):
            return Image.fromarray(np.asarray(turned).astype(np.uint16, copy=False))
        return _plain_channels(turned)


def stored_samples(image: Image.Image) -> np.ndarray:
    """The samples of an upright image, (height, width) or (height, width, channels)."""
    return np.asarray(image)


def _plain_channels(image: Image.Image) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def _space(image: Image.Image) -> str:
    """What the channels are, where their number and type do not say it."""
    return "" if image.mode in _COMMON or image.mode.startswith("I;16") else image.mode


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB.

    Transparent pixels are composited on white: that is how cut-outs are shown, while dropping the
    alpha channel would bring up whatever colours the drawing program left below it. 16-bit grey
    is scaled by its full range, never by the image's own, so that brightness stays comparable;
    32-bit floats are read as 0..1 if none is above 1, else as 0..255. Of an animation, the first
    frame.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image)
        if image.mode == "I":
            wide = np.clip(wide, 0, 65535).astype(np.uint16)
        return Image.fromarray(_EIGHT_OF_16[wide]).convert("RGB")
    if image.mode == "F":
        real = np.nan_to_num(np.asarray(image))
        scale = 255.0 if real.max() <= 1 else 1.0
        return Image.fromarray(np.clip(real * scale + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        full = image.convert("RGBA")
        white = Image.new("RGBA", full.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, full).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def read_image(read: Callable[[str], bytes], name: str, fit: Fit) -> Decoded | str:
    """The decoded image, or in a few words why there is none."""
    try:
        data = read(name)
        return decode_with_key(data, fit) if data else "empty file"
    except UnidentifiedImageError:
        return "not an image"
    except FileNotFoundError:
        return "no such file"
    except InputError as error:
        return str(error)
    except Exception as error:  # damaged files raise nearly every type there is
        if "truncated" in str(error).lower():
            return "truncated"
        text = " ".join(str(error).split())[:80]
        return text or type(error).__name__
