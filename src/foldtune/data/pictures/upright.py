"""A file as the picture that it stores, upright, and any picture as 8-bit RGB."""

from __future__ import annotations

import contextlib

import numpy as np
from PIL import ExifTags, Image, ImageOps

from foldtune.data.pictures.opening import MAX_PIXELS, open_picture

_WIDE = ("PNG", "PPM")  # formats whose 16 bits Pillow may serve as 32
_COMMON = ("L", "LA", "RGB", "RGBA", "I", "F")
# 8 bits of 16, by a table: arithmetic on a large scan would hold eight bytes a pixel.
_EIGHT_OF_16 = ((np.arange(65536) + 128) // 257).astype(np.uint8)


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


def _plain_channels(image: Image.Image) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def space_of(image: Image.Image) -> str:
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
