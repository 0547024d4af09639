"""Pictures of one to many channels go through the whole pipeline, from file to a trained tuning."""

import io

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import foldtune
from foldtune.augment.batch import augment, to_float
from foldtune.data import load_data
from foldtune.data.pictures.bands import as_array_file, read_bands
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.data.store.decode import Fit, decode
from foldtune.errors import InputError


def bands(label, seed, channels, dtype=np.uint8, top=255):
    """The label is which half of the channels is bright."""
    raw = np.random.default_rng(seed).random((32, 32, channels)) * 0.3
    half = channels // 2
    raw[..., half if label else 0 : channels if label else half] += 0.6
    return (raw * top).astype(dtype)


def tiff(samples, **more):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **more)
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [2, 4, 6, 16])
def test_a_tiff_of_many_channels_is_read_as_it_was_written(dtype, planar, channels):
    samples = bands(1, 1, channels, dtype, 200)
    axes = samples if planar == "contig" else np.moveaxis(samples, 2, 0)
    found = read_bands(tiff(axes, planarconfig=planar, photometric="minisblack"), MAX_PIXELS)
    assert np.array_equal(found, samples)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 6)])
def test_an_array_is_read_as_it_was_written(shape):
    for dtype in (np.uint8, np.uint16, np.int32, np.float32):
        samples = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        found = read_bands(as_array_file(samples), MAX_PIXELS)
        assert np.array_equal(found.reshape(shape), samples)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: as_array_file(np.zeros((4, 4, 65), np.uint8)), "65 channels"),
        (lambda: as_array_file(np.zeros((4, 4), np.complex64)), "complex64"),
        (lambda: as_array_file(np.zeros((4,), np.uint8)), "no picture"),
        (lambda: as_array_file(np.zeros((2, 2, 2, 2), np.uint8)), "no picture"),
        (lambda: as_array_file(np.zeros((40, 40), np.uint8)), "1,600 pixels are more than 99"),
        (
            lambda: tiff(np.zeros((40, 40, 6), np.uint8), planarconfig="contig"),
            "1,600 pixels are more than 99",
        ),
    ],
)
def test_what_is_no_picture_is_refused_before_it_is_allocated(make, said):
    with pytest.raises(InputError, match=said):
        read_bands(make(), 99)


def test_of_several_pages_the_first_is_read():
    pages = np.arange(96, dtype=np.uint8).reshape(3, 4, 8)
    found = read_bands(tiff(pages, photometric="minisblack"), MAX_PIXELS)
    assert np.array_equal(found[..., 0], pages[0])


def test_an_array_that_claims_more_than_it_holds_is_refused():
    data = as_array_file(np.zeros((8, 8), np.uint16)).replace(b"(8, 8)", b"(9, 9)")
    with pytest.raises(ValueError, match="buffer"):
        read_bands(data, MAX_PIXELS)


def test_a_number_of_channels_that_does_not_fit_is_refused_by_both():
    six = as_array_file(bands(0, 1, 6))
    with pytest.raises(InputError, match=r"6 channels and the backbone takes 3; .*--channels 6"):
        decode(six, Fit(8))
    with pytest.raises(InputError, match="3 channels and the backbone takes 4"):
        decode(as_array_file(bands(0, 1, 3)), Fit(8, channels=4))


def test_each_channel_is_fitted_as_a_grey_picture_is():
    samples = bands(1, 2, 4)
    file = io.BytesIO()
    Image.fromarray(samples, "RGBA").save(file, "PNG")
    found = decode(file.getvalue(), Fit(8, channels=4))
    for channel in range(4):
        grey = Image.fromarray(samples[..., channel]).resize((8, 8), Image.Resampling.BICUBIC)
        assert np.array_equal(found[..., channel], np.asarray(grey))


def test_one_channel_is_the_grey_of_colours():
    samples = bands(1, 2, 3)
    found = decode(as_array_file(samples), Fit(32, channels=1))
    assert np.array_equal(found[..., 0], np.asarray(Image.fromarray(samples).convert("L")))


KINDS = {
    "grey of 12 bits": (1, np.uint16, 4095),
    "grey of 14 bits": (1, np.uint16, 16383),
    "grey of 16 bits": (1, np.uint16, 65535),
    "floats": (1, np.float32, 0.01),
    "RGB of 12 bits": (3, np.uint16, 4095),
    "4 channels": (4, np.uint8, 255),
    "4 channels of 12 bits": (4, np.uint16, 4095),
    "6 channels": (6, np.uint8, 255),
    "6 channels, floats": (6, np.float32, 3.0),
}


@pytest.mark.parametrize(
    ("kind", "form", "name"),
    [
        *((kind, "tif", "micro") for kind in KINDS),
        ("floats", "npz", "micro"),
        ("6 channels, floats", "npz", "micro"),
        ("grey of 12 bits", "tif", "lite0"),
        ("floats", "tif", "lite0"),
        ("4 channels of 12 bits", "tif", "lite0"),
        ("6 channels, floats", "npz", "lite0"),
    ],
)
def test_every_kind_trains_end_to_end(kind, form, name, tmp_path):
    own, dtype, top = KINDS[kind]
    pictures = [(n % 2, bands(n % 2, n, max(own, 2), dtype, top)) for n in range(20)]
    if own == 1:
        pictures = [(k, samples[..., 0]) for k, samples in pictures]
    source = tmp_path / f"set.{form}"
    if form == "npz":
        np.savez(source, images=np.stack([p for _, p in pictures]), labels=[k for k, _ in pictures])
    for n, (k, samples) in enumerate(pictures if form == "tif" else ()):
        (source / "ab"[k]).mkdir(parents=True, exist_ok=True)
        as_one = {"planarconfig": "contig"} if samples.ndim == 3 else {}
        data = tiff(samples, photometric="rgb" if own == 3 else "minisblack", **as_one)
        (source / "ab"[k] / f"{n}.tif").write_bytes(data)
    backbone = foldtune.load_backbone(name, size=32, channels=None if own == 1 else own)
    data = load_data(source, size=32, channels=3 if own == 1 else own, workers=1,
                     cache=tmp_path / "cache")  # fmt: skip
    assert data.pixels.shape[3] == (3 if own == 1 else own)
    assert len(np.unique(data.pixels[:])) > 100
    # What was learnt of red is given to channels 1 and 4 alike, so that the first layer must train.
    fitted = foldtune.fit(data, backbone, "Stem()" if own == 6 else "LinearProbe", seed=0)
    assert fitted.row["test_accuracy"] == 1.0


def test_colours_are_changed_only_where_there_are_three():
    images = torch.rand(2, 6, 8, 8)
    draw = torch.Generator().manual_seed(0)
    assert augment(images, ("crop", "flip", "vflip", "erase"), draw).shape == images.shape
    for kind in ("jitter", "randaugment"):
        with pytest.raises(InputError, match=f"{kind} changes red, green and blue"):
            augment(images, (kind,), draw)


def test_normalisation_takes_each_channel_by_its_own():
    batch = torch.full((1, 2, 2, 4), 255, dtype=torch.uint8)
    found = to_float(batch, (0.0, 0.5, 0.0, 1.0), (1.0, 0.5, 0.25, 1.0))
    assert found[0, :, 0, 0].tolist() == [1.0, 1.0, 4.0, 0.0]
    with pytest.raises(InputError, match=r"\(batch, height, width, 3\)"):
        to_float(batch, (0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("written", "read"),
    [("int8", "int32"), ("int16", "int32"), ("uint32", "uint32"), ("float16", "float32"),
     ("float64", "float32")],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 5])
def test_a_tiff_of_any_depth_has_its_values(written, read, channels):
    samples = (np.random.default_rng(0).random((6, 5, channels)) * 100).astype(written)
    file = io.BytesIO()
    layout = {} if channels == 1 else {"planarconfig": "contig"}
    tifffile.imwrite(file, samples.squeeze(), photometric="minisblack", **layout)
    found = read_bands(file.getvalue(), MAX_PIXELS)
    assert found.dtype == read
    assert np.array_equal(found, samples.astype(read))
    assert decode(file.getvalue(), Fit(5, channels=channels)).shape == (5, 5, channels)
