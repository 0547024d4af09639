"""Any picture becomes (size, size, 3) bytes; every mode and orientation sensibly."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from data.conftest import encoded, picture
from foldtune.data.pictures.upright import to_rgb, upright
from foldtune.data.store.decode import Fit, decode, read_image
from foldtune.errors import InputError


def file_of(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def plain(value, mode="RGB"):
    return Image.new(mode, (4, 4), value)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "JPEG"])
@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize("shape", [(30, 9), (9, 30), (1, 1), (224, 224)])
def test_every_format_and_shape_is_fitted(form, resize, shape):
    pixels = decode(file_of(picture(1, shape), form), Fit(10, resize))
    assert pixels.shape == (10, 10, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG", "MPO"])
def test_the_named_decoder_gives_what_pillow_finds_by_itself(form):
    data = file_of(picture(1, (9, 9)), form)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(decode(data, Fit(9)), np.asarray(image.convert("RGB")))


def test_a_file_that_only_begins_like_a_format_is_no_image():
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"):
        told = read_image(lambda name, data=start: data + b"rubbish" * 9, "a", Fit(4))
        assert isinstance(told, str)


def test_squash_is_pillows_resize():
    expected = np.asarray(picture(1).resize((7, 7), Image.Resampling.BICUBIC))
    assert np.array_equal(decode(encoded(1), Fit(7)), expected)


def test_crop_takes_the_centre_of_the_shorter_side():
    image = plain((0, 0, 0)).resize((448, 224))
    image.paste((255, 255, 255), (112, 0, 336, 224))  # the central square is white
    pixels = decode(file_of(image, "PNG"), Fit(224, "crop", "nearest"))
    assert (pixels == 255).all()


def test_both_sides_are_squashed_to_height_and_width():
    expected = np.asarray(picture(1).resize((9, 5), Image.Resampling.BICUBIC))
    assert np.array_equal(decode(encoded(1), Fit((5, 9))), expected)


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (40, 20), (20, 20)])
def test_a_crop_of_two_sides_is_the_centre_of_what_covers_them(shape):
    tall, wide, image = 28, 56, picture(1, shape)
    scale = max(64 / image.width, 32 / image.height)  # 256 / 224 of both sides
    size = (round(image.width * scale), round(image.height * scale))
    left, top = (size[0] - wide) // 2, (size[1] - tall) // 2
    whole = image.resize(size, Image.Resampling.BICUBIC)
    expected = whole.crop((left, top, left + wide, top + tall))
    pixels = decode(file_of(image, "PNG"), Fit((tall, wide), "crop"))
    assert np.array_equal(pixels, np.asarray(expected))


def test_equal_sides_are_the_square_and_others_state_both():
    assert Fit((8, 8)).geometry == Fit(8).geometry == (8, "squash", "bicubic")
    assert Fit((8, 16)).geometry[0] == "8x16"
    with pytest.raises(InputError, match=r"image size \(0, 8\) is not between"):
        Fit((0, 8))


def test_an_odd_rim_of_a_crop_is_smaller_at_the_top_and_left():
    image = picture(1, (8, 12))  # 8 is the shorter side for 7 pixels, so nothing is resized
    pixels = decode(file_of(image, "PNG"), Fit(7, "crop"))
    assert np.array_equal(pixels, np.asarray(image)[0:7, 2:9])


def test_interpolations_differ():
    pixels = [decode(encoded(1), Fit(7, "squash", name)) for name in ("nearest", "lanczos")]
    assert not np.array_equal(*pixels)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (plain(100, "L"), [100, 100, 100]),
        (plain(1, "1"), [255, 255, 255]),
        (plain((255, 0, 0, 0), "CMYK"), [0, 255, 255]),
        (plain((10, 20, 30, 255), "RGBA"), [10, 20, 30]),
        (plain((10, 20, 30, 0), "RGBA"), [255, 255, 255]),
        (plain((0, 128), "LA"), [127, 127, 127]),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), [255, 255, 255]),
        (Image.fromarray(np.full((4, 4), 257 * 7, np.uint16)), [7, 7, 7]),
        (Image.fromarray(np.full((4, 4), 257 * 7, np.int32)), [7, 7, 7]),
        (Image.fromarray(np.full((4, 4), 0.5, np.float32)), [128, 128, 128]),
        (Image.fromarray(np.full((4, 4), 200, np.float32)), [200, 200, 200]),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value[0]),
)
def test_every_mode_becomes_rgb(image, expected):
    rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    assert np.asarray(rgb)[2, 2].tolist() == expected


def test_a_transparent_colour_of_a_palette_is_white():
    image = plain((255, 0, 0)).quantize(4)
    pixels = decode(file_of(image, "PNG", transparency=image.getpixel((0, 0))), Fit(4))
    assert (pixels == 255).all()


def test_a_16_bit_png_keeps_its_brightness():
    image = Image.fromarray(np.full((4, 4), 257 * 90, np.uint16))
    assert (decode(file_of(image, "PNG"), Fit(4)) == 90).all()


def test_a_cmyk_jpeg_is_read():
    assert decode(file_of(plain((0, 0, 0, 0), "CMYK"), "JPEG"), Fit(4)).min() > 250


# What the tag says of the stored rows and columns (EXIF 2.3, table 6), undone with NumPy.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],  # 0th column at the right
    3: lambda x: x[::-1, ::-1],  # 0th row at the bottom, 0th column at the right
    4: lambda x: x[::-1],  # 0th row at the bottom
    5: lambda x: x.swapaxes(0, 1),  # 0th row at the left
    6: lambda x: np.rot90(x, -1),  # 0th row at the right
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),  # 0th row at the right, 0th column at the bottom
    8: lambda x: np.rot90(x, 1),  # 0th row at the left, 0th column at the bottom
}


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("tag", UPRIGHT)
def test_a_picture_is_turned_upright_from_every_orientation(tag, form):
    exif = Image.Exif()
    exif[0x0112] = tag
    options = {"lossless": True} if form == "WEBP" else {}
    data = file_of(picture(1, (5, 8)), form, exif=exif, **options)
    found = np.asarray(to_rgb(upright(data)))
    assert np.array_equal(found, UPRIGHT[tag](np.asarray(picture(1, (5, 8)))))
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(found, np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(form):
    frames = [plain((0, 0, 0)), plain((255, 255, 255))]
    data = file_of(frames[0], form, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 2
    assert decode(data, Fit(4)).max() == 0


def test_a_damaged_exif_block_loses_no_picture():
    pixels = decode(file_of(picture(1), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff"), Fit(4))
    assert pixels.shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "not an image"),
        (encoded(1, ".jpg")[:-200], "truncated"),
        (encoded(1, ".png")[:-60], "truncated"),
    ],
)
def test_what_is_no_image_is_told_in_a_few_words(data, why):
    assert read_image(lambda name: data, "a", Fit(4)) == why


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".bmp"])
def test_damage_never_escapes(suffix):
    whole = encoded(1, suffix)
    random = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole[: random.integers(1, len(whole) + 1)])
        for place in random.integers(0, len(data), 5):
            data[place] = random.integers(256)
        result = read_image(lambda name, data=data: bytes(data), "a", Fit(4))
        assert isinstance(result, str) or result.shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((0,), "image size 0"),
        ((8, "sqash"), "unknown resize 'sqash'; choose from: squash"),
        ((8, "crop", "cubic"), "choose from: bicubic"),
    ],
)
def test_a_wrong_fit_is_refused(arguments, part):
    with pytest.raises(InputError, match=part):
        Fit(*arguments)
