"""One image: from the bytes of a file to (size, size, channels), and to its key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from foldtune.data.identity import image_hash, image_key
from foldtune.data.pictures.bands import MOST
from foldtune.data.pictures.intensity import BYTES, OWN, WHITE, Setting, Span, check_setting
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.data.pictures.read import RGB, Read, read_picture
from foldtune.errors import InputError, unknown_name

Made = TypeVar("Made")

_PLAIN = "bilinear-plain"
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    _PLAIN: Image.Resampling.BILINEAR,
}
RESIZES = ("squash", "crop")
_WHOLE = 1 << 24  # pixels up to which an image is resized whole before its centre is cut out
_LARGEST = 4096  # pixels a side; beyond it a size is a slip of the pen


@dataclass(frozen=True)
class Fit:
    """How an image is brought to `size` pixels: of a square the side, else height and width.

    squash: both sides to `size`, whatever the aspect (the rule of VTAB). crop: the image to the
    smallest that covers size * 256 / 224, rounded, then its centre (the usual rule of ImageNet:
    of a square the shorter side). Interpolation
    reads all the pixels that a new one covers, but for `bilinear-plain`: the four nearest alone, as
    TensorFlow resizes in VTAB's own pipeline.
    """

    size: int | tuple[int, int]
    resize: str = "squash"
    interpolation: str = "bicubic"
    max_pixels: int = MAX_PIXELS  # of a picture as stored; more are refused before they are decoded
    # By what samples of more than 8 bits are read: a range, or how a set's is found. Until it is,
    # by their file's full one.
    range: Setting = OWN
    channels: int = RGB
    # What the store holds of a channel: uint8, or where a set has more bits uint16 or float32.
    depth: str = BYTES

    def __post_init__(self) -> None:
        if not all(1 <= side <= _LARGEST for side in self.shape[:2]):
            raise InputError(f"image size {self.size} is not between 1 and {_LARGEST} pixels")
        if self.resize not in RESIZES:
            raise unknown_name("resize", self.resize, RESIZES)
        if self.interpolation not in INTERPOLATIONS:
            raise unknown_name("interpolation", self.interpolation, INTERPOLATIONS)
        check_setting(self.range)
        if not 1 <= self.channels <= MOST:
            raise InputError(f"{self.channels} channels are none of 1 to {MOST}")
        if self.depth not in WHITE:
            raise unknown_name("depth", self.depth, WHITE)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image in the store: height, width, channels."""
        return shape_of(self.size, self.channels)

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.depth).itemsize

    @property
    def geometry(self) -> tuple[int | str, str, str]:
        """What of it enters an identity."""
        height, width, _ = self.shape
        size = height if height == width else f"{height}x{width}"
        return size, self.resize, self.interpolation

    @property
    def other_settings(self) -> tuple[str, ...]:
        """And what else does, where it is not as usual."""
        bands: tuple[str, ...] = () if self.channels == RGB else ("channels", str(self.channels))
        bands += () if self.depth == BYTES else ("depth", self.depth)
        if isinstance(self.range, str):
            return bands
        return ("range", *(repr(float(end)) for end in self.range), *bands)

    def planes(self, read: Read) -> np.ndarray:
        """A picture's channels, each fitted by itself, (size, size, channels) of the depth."""
        if self.depth == BYTES:
            bands = read.bands(self.range, self.channels)
            return np.dstack([self._fit_band(band) for band in bands])
        found: dict[int, np.ndarray] = {}  # grey is one band three times
        deep = read.deep(self.range, self.channels, self.depth)
        for band in deep:
            if id(band) not in found:
                found[id(band)] = self._fit_band(band)
        whole = np.dstack([found[id(band)] for band in deep])
        # The cubic's negative lobes overshoot at edges; Pillow clips whole numbers alone.
        return whole if whole.dtype.kind != "f" else whole.clip(0, 1)

    def _fit_band(self, band: np.ndarray) -> np.ndarray:
        return np.asarray(self.apply(Image.fromarray(np.ascontiguousarray(band))))

    def apply(self, image: Image.Image) -> Image.Image:
        tall, wide = self.shape[:2]
        if self.resize == "squash":
            return self._resize(image, (wide, tall))
        width, height = image.size
        short, low = round(wide * 256 / 224), round(tall * 256 / 224)
        if width * low <= height * short:
            width, height = short, max(low, round(short * height / width))
        else:
            width, height = max(short, round(low * width / height)), low
        left, top = (width - wide) // 2, (height - tall) // 2
        box = (left, top, left + wide, top + tall)
        if width * height > _WHOLE:
            return self._part(image, (image.width / width, image.height / height), box)
        return self._resize(image, (width, height)).crop(box)

    def _part(
        self, image: Image.Image, scale: tuple[float, float], box: tuple[int, int, int, int]
    ) -> Image.Image:
        """A box of the resized image without the rest, to rounding: of a picture of one column all
        would be a hundred thousand times the picture. scale: pixels of the image a new one."""
        method, size = INTERPOLATIONS[self.interpolation], (box[2] - box[0], box[3] - box[1])
        left, top = box[0] * scale[0], box[1] * scale[1]
        if self.interpolation == _PLAIN:
            affine = (scale[0], 0, left, 0, scale[1], top)
            return image.transform(size, Image.Transform.AFFINE, affine, method)
        right = min(box[2] * scale[0], image.width)
        bottom = min(box[3] * scale[1], image.height)
        return image.resize(size, method, box=(left, top, right, bottom))

    def _resize(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        method = INTERPOLATIONS[self.interpolation]
        if self.interpolation != _PLAIN:
            return image if image.size == size else image.resize(size, method)
        scale = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
        return image.transform(size, Image.Transform.AFFINE, scale, method)


def shape_of(size: int | str | Sequence[int], channels: int = RGB) -> tuple[int, int, int]:
    """Height, width and channels of an image: of a side, of both, or of both as `geometry` has
    them."""
    if isinstance(size, int):
        size = (size, size)
    height, width = map(int, size.split("x") if isinstance(size, str) else size)
    return height, width, channels


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image. pixels: (size, size, channels) of the fit's depth; hash: of these; key: of its
    samples at full size (`image_key`); file: the hash of the file's bytes, by which it is known
    again where another decoder gives other samples; span: the values of samples of more than 8
    bits."""

    pixels: np.ndarray
    hash: str
    key: str
    file: str
    span: Span | None = None

    @property
    def mark(self) -> str:
        """Key and file's hash in one: by these a picture is looked up."""
        return self.key + self.file


def decode(data: bytes, fit: Fit) -> np.ndarray:
    """The image in `data` as (size, size, channels) of the fit's depth; raises whatever the decoder
    raises."""
    read = read_picture(data, fit.max_pixels, fit.channels)
    if fit.channels != RGB or fit.depth != BYTES:
        return fit.planes(read)
    return np.asarray(fit.apply(read.rgb(fit.range)))


def decode_with_key(data: bytes, fit: Fit) -> Decoded:
    """The image in `data`, decoded once for its pixels and its key; raises as `decode` does."""
    read = read_picture(data, fit.max_pixels, fit.channels)
    samples = read.samples
    content = image_hash(samples)
    key = image_key(samples, read.space, content)
    if fit.channels != RGB or fit.depth != BYTES:
        pixels = fit.planes(read)
        return Decoded(pixels, image_hash(pixels), key, image_hash(data), read.span)
    fitted = fit.apply(read.rgb(fit.range))
    same = fitted is read.image and not read.fine
    pixels = samples if same else np.asarray(fitted)
    own = content if same else image_hash(pixels)
    return Decoded(pixels, own, key, image_hash(data), read.span)


def key_of(data: bytes) -> str:
    """The key of the image in `data`; raises whatever the decoder raises."""
    read = read_picture(data)
    return image_key(read.samples, read.space)


def read_image(read: Callable[[str], bytes], name: str, fit: Fit) -> Decoded | str:
    """The decoded image, or in a few words why there is none."""
    return _try_decoding(read, name, lambda data: decode_with_key(data, fit))


def read_pixels(read: Callable[[str], bytes], name: str, fit: Fit) -> np.ndarray | str:
    """The same without its hashes, which cost a tenth of the decoding and identify nothing here."""
    return _try_decoding(read, name, lambda data: decode(data, fit))


def _try_decoding(
    read: Callable[[str], bytes], name: str, make: Callable[[bytes], Made]
) -> Made | str:
    try:
        data = read(name)
        return make(data) if data else "empty file"
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
