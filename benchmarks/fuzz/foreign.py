"""Sound HEIC, JPEG XL and DICOM files, which mutated ones are made from."""

from __future__ import annotations

import base64
import io

import imagecodecs
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

_HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAADoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABo"
    "dmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEA"
    "GEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAA"
    "AwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAAB"
    "AAAAIAAAAAEAAAAAAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAEJt"
    "ZGF0AAAANigBr1jm9Oq//+UNf/5s/IfJrL9f/qr1X7QyT/sg1UktsDUYu8ag8XIQtIGEAZNtq+SEXJaxwA=="
)


def foreign_seeds(draw: np.random.Generator) -> list[bytes]:
    """One of each kind and depth that is read."""
    grey = draw.integers(0, 255, (12, 16), dtype=np.uint8)
    deep = draw.integers(0, 4095, (12, 16), dtype=np.uint16)
    colours = draw.integers(0, 255, (12, 16, 4), dtype=np.uint8)
    found = [_HEIC]
    for samples in (grey, colours[..., :3].copy(), colours, deep, deep.astype(np.float32) / 4095):
        found += [imagecodecs.jpegxl_encode(samples, usecontainer=boxed) for boxed in (False, True)]
    window = {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 1, "RescaleIntercept": -1024}
    return [*found, _dicom(deep), _dicom(deep, **window), _dicom(np.stack([deep, deep]))]


def _dicom(values: np.ndarray, **told: float) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    made.Rows, made.Columns = values.shape[-2:]
    if values.ndim == 3:
        made.NumberOfFrames = len(values)
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    for name, value in told.items():
        setattr(made, name, value)
    made.PixelData = values.tobytes()
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()
