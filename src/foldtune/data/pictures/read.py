"""A picture as it was stored, with what its samples are, and as bytes by a range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from foldtune.data.pictures.bands import full_range, is_array, is_tiff, read_bands
from foldtune.data.pictures.deep import deep_samples, is_deep
from foldtune.data.pictures.dicom import read_dicom
from foldtune.data.pictures.foreign import DICOM, Kind, kind_of, read_foreign
from foldtune.data.pictures.intensity import (
    BYTES,
    OWN,
    WHITE,
    Range,
    Setting,
    Span,
    measure,
    scale_samples,
)
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.data.pictures.upright import space_of, to_rgb, upright
from foldtune.errors import InputError

RGB = 3
_PLAIN = ("L", "LA", "RGB", "RGBA")


@dataclass(frozen=True, eq=False)
class Read:
    """An upright picture. image: as Pillow gives it, None where it has other channels than Pillow
    knows; wide: its samples of more than 8 bits, or of such channels, (height, width) or (height,
    width, channels), and alpha, of 8 bits, beside them; span: the values of more than 8 bits; fine:
    whether these tell more than their higher eight would."""

    image: Image.Image | None
    wide: np.ndarray | None = None
    alpha: np.ndarray | None = None
    span: Span | None = None
    fine: bool = False

    @property
    def samples(self) -> np.ndarray:
        """What the key is made of: colours of 16 bits by their higher eight, where these do."""
        if self.image is not None and not self.fine:
            return np.asarray(self.image)
        assert self.wide is not None
        return self.wide if self.alpha is None else np.dstack([self.wide, self.alpha])

    @property
    def space(self) -> str:
        """What the channels are, where their number and type do not say it."""
        return "" if self.image is None else space_of(self.image)

    def rgb(self, setting: Setting) -> Image.Image:
        """The picture as 8-bit RGB. Raises InputError where it has other channels."""
        if self.image is not None and (self.wide is None or isinstance(setting, str)):
            return to_rgb(self.image)
        eight = self._eight(setting)
        channels = eight.shape[2] if eight.ndim == 3 else 1
        if self.image is None and channels not in (1, RGB):
            raise _unlike(channels, RGB)
        if self.alpha is not None:
            return to_rgb(Image.fromarray(_with_alpha(eight, self.alpha)))
        return to_rgb(Image.fromarray(eight if channels > 1 else eight.reshape(eight.shape[:2])))

    def bands(self, setting: Setting, channels: int) -> Iterable[np.ndarray]:
        """So many channels, (height, width) uint8 each: the picture's own, alpha among them, or one
        grey of its colours. Raises InputError where it has another number."""
        image = self.image
        if self.wide is not None:
            eight = self._eight(setting)
            own = eight if self.alpha is None else np.dstack([eight, self.alpha])
        else:
            assert image is not None
            own = np.asarray(image if image.mode in _PLAIN else to_rgb(image))
        count = own.shape[2] if own.ndim == 3 else 1
        if count == channels:
            return [own] if own.ndim == 2 else np.moveaxis(own, 2, 0)
        if channels == 1 and image is not None:
            return [np.asarray(self.rgb(setting).convert("L"))]
        raise _unlike(count, channels)

    def _eight(self, setting: Setting) -> np.ndarray:
        assert self.wide is not None
        if self.wide.dtype == np.uint8:
            return self.wide
        return scale_samples(self.wide, self._range(setting))

    def _range(self, setting: Setting) -> Range:
        assert self.wide is not None
        return full_range(self.wide) if isinstance(setting, str) else setting

    def deep(self, setting: Setting, channels: int, depth: str) -> list[np.ndarray]:
        """So many channels at a depth of more than 8 bits, (height, width) each: as `rgb` gives
        three and `bands` another number, nothing of them rounded to 8 bits."""
        if self.wide is not None and self.wide.dtype != np.uint8:
            own, alpha = scale_samples(self.wide, self._range(setting), depth), self.alpha
        elif channels == RGB:
            return [
                _widen(band, depth) for band in np.moveaxis(np.asarray(self.rgb(setting)), 2, 0)
            ]
        else:
            return [_widen(band, depth) for band in self.bands(setting, channels)]
        bands = [own] if own.ndim == 2 else list(np.moveaxis(own, 2, 0))
        shades = None if alpha is None else _widen(alpha, depth)
        count = len(bands) + (shades is not None)
        if channels == RGB and len(bands) in (1, RGB):
            over = bands if shades is None else [_on_white(band, shades) for band in bands]
            return over if len(over) == RGB else over * RGB
        if count == channels:
            return bands if shades is None else [*bands, shades]
        if channels == 1 and len(bands) == RGB:
            return [_luma(bands if shades is None else [_on_white(b, shades) for b in bands])]
        raise _unlike(count, channels)


def read_picture(data: bytes, max_pixels: int = MAX_PIXELS, channels: int = RGB) -> Read:
    """The picture in `data`; raises whatever its decoder raises.

    channels: that are wanted: a TIFF is read by its own where they are not RGB.
    """
    if (kind := kind_of(data)) is not None:
        return _of_foreign(kind, data, max_pixels)
    if is_array(data) or (channels != RGB and is_tiff(data)):
        return _of_bands(read_bands(data, max_pixels))
    try:
        image = upright(data, max_pixels)
    except UnidentifiedImageError:
        if not is_tiff(data):
            raise
        return _of_bands(read_bands(data, max_pixels))  # of more channels than Pillow knows
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        wide = np.asarray(image)
        return Read(image, wide, None, Span.of(wide))
    found = deep_samples(data, max_pixels) if is_deep(data) else None
    if found is None:
        return Read(image)
    span = Span.of(found[0])
    alone = measure([span], OWN)
    return Read(image, *found, span, alone is not None and alone.taken is not None)


def _of_foreign(kind: Kind, data: bytes, max_pixels: int) -> Read:
    if kind is DICOM:
        return _of_bands(_with_channels(read_dicom(data, max_pixels)))
    samples = read_foreign(kind, data, max_pixels)
    if samples.dtype == np.uint8:
        return Read(Image.fromarray(samples))
    if samples.ndim == 2 or samples.shape[2] in (1, RGB):
        return _of_bands(_with_channels(samples))
    colours = samples[:, :, :-1] if samples.shape[2] == 4 else samples[:, :, 0]
    alpha = scale_samples(samples[:, :, -1], full_range(samples))
    return Read(None, np.ascontiguousarray(colours), alpha, Span.of(colours))


def _with_channels(samples: np.ndarray) -> np.ndarray:
    return samples if samples.ndim == 3 else samples[:, :, None]


def _of_bands(samples: np.ndarray) -> Read:
    if samples.dtype == np.uint8 and samples.shape[2] in (1, RGB):
        return Read(Image.fromarray(samples if samples.shape[2] == RGB else samples[:, :, 0]))
    if samples.dtype == np.uint8:
        return Read(None, samples)
    return Read(None, samples, None, Span.of(samples))


def _widen(eight: np.ndarray, depth: str) -> np.ndarray:
    """8 bits at another depth."""
    if depth == BYTES:
        return eight
    wide = eight.astype(depth)
    wide *= WHITE[depth] / 255 if wide.dtype.kind == "f" else WHITE[depth] // 255
    return wide


def _on_white(band: np.ndarray, shades: np.ndarray) -> np.ndarray:
    """A channel laid on white by its alpha, both of one depth."""
    white = WHITE[band.dtype.name]
    over = white - (white - band.astype(np.float64)) * (shades / white)
    return over.astype(band.dtype) if band.dtype.kind == "f" else np.rint(over).astype(band.dtype)


def _luma(bands: list[np.ndarray]) -> np.ndarray:
    """One grey of three colours (ITU-R 601, as Pillow has it)."""
    grey = 0.299 * bands[0] + 0.587 * bands[1] + 0.114 * bands[2]
    whole = bands[0].dtype.kind != "f"
    return (np.rint(grey) if whole else grey).astype(bands[0].dtype)


def _with_alpha(eight: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    colours = [eight] if eight.ndim == 3 else [eight] * RGB
    return np.dstack([*colours, alpha])


def _unlike(has: int, wanted: int) -> InputError:
    return InputError(
        f"it has {has} channels and the backbone takes {wanted}; load the backbone for them "
        f"(--channels {has})"
    )
