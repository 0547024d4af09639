"""DICOM through the window of its header, one frame at a time."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_windowing
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from foldtune.data import load_data
from foldtune.data.pictures.dicom import named_frame, read_dicom
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.data.store.decode import Fit, decode
from foldtune.data.tools.check import header
from foldtune.errors import InputError


def dicom(values, space="MONOCHROME2", **told):
    """A DICOM file of (height, width), (frames, height, width) or, of colours, with 3 behind."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    colours = space == "RGB"
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, generate_uid()
    made.Rows, made.Columns = values.shape[-3:-1] if colours else values.shape[-2:]
    if values.ndim == (4 if colours else 3):
        made.NumberOfFrames = len(values)
    made.SamplesPerPixel, made.PhotometricInterpretation = (3 if colours else 1), space
    if colours:
        made.PlanarConfiguration = 0
    bits = 8 * values.dtype.itemsize
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, int(values.dtype.kind == "i")
    for name, value in told.items():
        setattr(made, name, value)
    made.PixelData = values.tobytes()
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).integers(0, 4096, (12, 10)).astype(np.uint16)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_pydicoms_own(values, function):
    window = {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": function,
              "RescaleSlope": 1, "RescaleIntercept": -1024}  # fmt: skip
    data = dicom(values, **window)
    found = read_dicom(data, MAX_PIXELS)
    told = pydicom.dcmread(io.BytesIO(data))
    wanted = apply_windowing(values.astype(float) - 1024, told)
    # Of 12 bits and this intercept its range is -1024 to 3071 or wider; only the shape matters.
    low, high = wanted.min(), wanted.max()
    share = (wanted - low) / (high - low)
    spread = found.astype(float)
    spread = (spread - spread.min()) / (spread.max() - spread.min())
    assert np.abs(share - spread).max() < 2 / 65535  # rounded to 16 bits


def test_a_file_without_a_window_has_its_hounsfield_units(values):
    found = read_dicom(dicom(values, RescaleSlope=2, RescaleIntercept=-1000), MAX_PIXELS)
    assert found.dtype == np.int32
    assert np.array_equal(found, 2 * values.astype(int) - 1000)


def test_dark_on_light_is_turned(values):
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = read_dicom(dicom(values, **window), MAX_PIXELS).astype(int)
    turned = read_dicom(dicom(values, "MONOCHROME1", **window), MAX_PIXELS).astype(int)
    assert np.abs(plain + turned - 65535).max() <= 1


def test_colours_are_as_they_are():
    colours = np.random.default_rng(1).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    data = dicom(colours, "RGB")
    assert np.array_equal(read_dicom(data, MAX_PIXELS), colours)
    assert header(data) == ((5, 6), "DICOM", True)


def test_of_several_frames_one_must_be_named(values):
    frames = np.stack([values, values[::-1], values[:, ::-1]])
    data = dicom(frames)
    with pytest.raises(InputError, match=r"3 frames; list those to take in a table.*#2"):
        decode(data, Fit(8))
    for number, frame in enumerate(frames):
        assert np.array_equal(read_dicom(data, MAX_PIXELS, number), frame)
    with pytest.raises(InputError, match="frame 3 of a DICOM file that has 3"):
        read_dicom(data, MAX_PIXELS, 3)


def test_frames_are_named_in_a_table(values, tmp_path):
    stack = np.stack([np.full((8, 8), n * 100, np.uint16) for n in range(12)])
    (tmp_path / "scan.dcm").write_bytes(dicom(stack))
    rows = [f"scan.dcm#{n},{'low' if n < 6 else 'high'}" for n in range(12)]
    (tmp_path / "t.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    data = load_data(tmp_path / "t.csv", size=8, cache=tmp_path / "cache", workers=1)
    shades = {name: int(data.pixels[row, 0, 0, 0]) for row, name in enumerate(data.names)}
    assert len(set(shades.values())) == 12
    assert sorted(shades, key=shades.__getitem__) == [f"scan.dcm#{n}" for n in range(12)]
    assert named_frame("a/scan.DCM#7") == ("a/scan.DCM", 7)
    assert named_frame("a/b.png#7") is None


@pytest.mark.parametrize("cut", [140, 300, -10])
def test_a_damaged_file_is_refused_in_a_line(values, cut):
    with pytest.raises(InputError, match="DICOM"):
        decode(dicom(values)[:cut], Fit(8))


def test_more_pixels_than_allowed_are_refused_by_the_header(values):
    with pytest.raises(InputError, match="120 pixels are more than 119"):
        decode(dicom(values), Fit(8, max_pixels=119))


def test_a_window_of_no_width_is_refused(values):
    with pytest.raises(InputError, match="window of the width 0"):
        decode(dicom(values, WindowCenter=5, WindowWidth=0), Fit(8))
