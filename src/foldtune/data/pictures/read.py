"""A picture as it was stored, with what its samples are, and as bytes by a range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from foldtune.data.pictures.bands import full_range, is_array, is_tiff, read_bands
from foldtune.data.pictures.deep import deep_samples, is_deep
from foldtune.data.pictures.intensity import OWN, Setting, Span, measure, to_bytes
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
        return to_bytes(self.wide, full_range(self.wide) if isinstance(setting, str) else setting)


def read_picture(data: bytes, max_pixels: int = MAX_PIXELS, channels: int = RGB) -> Read:
    """The picture in `data`; raises whatever its decoder raises.

    channels: that are wanted: a TIFF is read by its own where they are not RGB.
    """
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


def _of_bands(samples: np.ndarray) -> Read:
    if samples.dtype == np.uint8 and samples.shape[2] in (1, RGB):
        return Read(Image.fromarray(samples if samples.shape[2] == RGB else samples[:, :, 0]))
    if samples.dtype == np.uint8:
        return Read(None, samples)
    return Read(None, samples, None, Span.of(samples))


def _with_alpha(eight: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    colours = [eight] if eight.ndim == 3 else [eight] * RGB
    return np.dstack([*colours, alpha])


def _unlike(has: int, wanted: int) -> InputError:
    return InputError(
        f"it has {has} channels and the backbone takes {wanted}; load the backbone for them "
        f"(--channels {has})"
    )
