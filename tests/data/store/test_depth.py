"""Sets of more than 8 bits are stored, augmented and normalised with what they have."""

import io

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import foldtune
from data.conftest import encoded
from foldtune.augment.batch import augment, to_float
from foldtune.backbones.prepare import prepare_for
from foldtune.data import load_data
from foldtune.data.store.decode import Fit, decode
from foldtune.training.batches import load_pixels
from foldtune.training.recipe import Recipe

SIDE = 24


def stripes(label, seed, channels=1):
    """(height, width, channels) in 0..1; the label is the stripes' direction."""
    rng = np.random.default_rng(seed)
    along = np.arange(SIDE)[:, None] if label else np.arange(SIDE)[None]
    values = np.sin(along * 0.8 + rng.uniform(0, 6)) * 0.4 + 0.5
    values = values[..., None] + rng.normal(0, 0.02, (SIDE, SIDE, channels))
    return values.clip(0, 1)


def png(samples):
    file = io.BytesIO()
    Image.fromarray(samples[..., 0]).save(file, "PNG")
    return file.getvalue()


def tiff(samples):
    file = io.BytesIO()
    tifffile.imwrite(file, samples.squeeze(), photometric="minisblack",
                     **({"planarconfig": "contig"} if samples.shape[2] > 1 else {}))  # fmt: skip
    return file.getvalue()


# By name: how samples in 0..1 are saved, channels, and what the store holds of one.
SETS = {
    "12 bits": (lambda v: png((v * 4095).astype(np.uint16)), 1, "uint16"),
    "14 bits": (lambda v: png((v * 16383).astype(np.uint16)), 1, "uint16"),
    "16 bits": (lambda v: png((v * 65535).astype(np.uint16)), 1, "uint16"),
    "floats": (lambda v: tiff((v * 3 - 1).astype(np.float32)), 1, "float32"),
    "4 channels": (lambda v: tiff((v * 4095).astype(np.uint16)), 4, "uint16"),
    "6 channels": (lambda v: tiff((v * 2000 - 1000).astype(np.float32)), 6, "float32"),
}


def made(root, name, count=24):
    save, channels, _ = SETS[name]
    suffix = ".png" if save(np.zeros((2, 2, channels))).startswith(b"\x89PNG") else ".tif"
    for n in range(count):
        path = root / "ab"[n % 2] / f"{n}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(save(stripes(n % 2, n, channels)))
    return root


def loaded(folder, channels=1, size=16):
    wanted = 3 if channels == 1 else channels
    cache = folder.parent / "cache"
    return load_data(folder, size=size, workers=1, cache=cache, channels=wanted)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_stored_with_its_depth_and_learned_end_to_end(name, tmp_path):
    _, channels, depth = SETS[name]
    data = loaded(made(tmp_path / "set", name), channels)
    assert data.pixels.dtype == depth == data.facts["depth"]
    assert len(np.unique(data.pixels[:])) > 1000  # 8 bits are 256 levels
    backbone = foldtune.load_backbone(
        "micro", size=16, channels=None if channels == 1 else channels
    )
    fitted = foldtune.fit(data, backbone, "BitFit", recipe=Recipe(epochs=2, lr=3e-3))
    assert fitted.row["test_accuracy"] == 1.0


def test_8_bits_stay_8_bits_with_the_identity_of_before(make_folder):
    data = loaded(make_folder({"a": 6, "b": 6}))
    assert data.pixels.dtype == np.uint8
    assert Fit(16).other_settings == ()
    assert data.facts["depth"] == "uint8"


def test_the_store_holds_what_plain_pillow_gives_of_floats(tmp_path):
    """The reference: samples by the range in numpy, resized as floats by Pillow."""
    folder = made(tmp_path / "set", "12 bits")
    data = loaded(folder)
    low, high = data.facts["range"]
    for row, name in enumerate(data.names[:6]):
        samples = np.asarray(Image.open(folder / name)).astype(np.float32)
        share = Image.fromarray(((samples - low) / (high - low)).clip(0, 1))
        wanted = np.asarray(share.resize((16, 16), Image.Resampling.BICUBIC)).clip(0, 1)
        found = data.pixels[row, ..., 0] / 65535
        # Pillow resizes in two passes and rounds each to 16 bits.
        assert np.abs(found - wanted).max() < 3 / 65535


def test_pictures_of_8_bits_in_a_deep_set_are_what_they_are_alone(tmp_path):
    folder = made(tmp_path / "set", "16 bits")
    for n in range(4):
        (folder / "a" / f"x{n}.png").write_bytes(encoded(n))
    data = loaded(folder)
    rows = [row for row, name in enumerate(data.names) if "x" in name]
    for row in rows:
        alone = decode((folder / data.names[row]).read_bytes(), Fit(16))
        # Resized at 16 bits, so rounded to 8 bits only here.
        assert np.abs(data.pixels[row] / 257 - alone).max() < 1.51


def test_augmentation_and_normalisation_take_every_level(tmp_path):
    data = loaded(made(tmp_path / "set", "16 bits"))
    batch = load_pixels(data.pixels, np.arange(8), torch.device("cpu"))
    assert batch.dtype == torch.float32
    plain = to_float(batch, (0.0,) * 3, (1.0,) * 3)
    assert torch.equal(plain.permute(0, 2, 3, 1), batch)
    kinds = ("flip", "jitter", "randaugment", "erase", "crop")
    changed = augment(plain, kinds, torch.Generator().manual_seed(0))
    assert changed.shape == plain.shape
    assert len(changed.unique()) > 1000
    prepared = prepare_for(foldtune.load_backbone("micro", size=16))(batch, None)
    assert torch.isfinite(prepared).all()


def test_predict_reads_at_the_depth_of_the_tuning(tmp_path):
    from foldtune.core.tuningfile import read
    from foldtune.tunings.imagefiles import decode_files

    folder = made(tmp_path / "set", "12 bits")
    data = loaded(folder)
    backbone = foldtune.load_backbone("micro", size=16)
    fitted = foldtune.fit(
        data, backbone, "LinearProbe", out=tmp_path / "out", recipe=Recipe(epochs=1)
    )
    told = read(fitted.tuning)[0]["data"]
    assert told["depth"] == "uint16"
    pixels = decode_files([folder / data.names[0]], backbone, told)
    assert np.array_equal(pixels[0], data.pixels[0])
    told = {name: value for name, value in told.items() if name != "depth"}  # of an earlier one
    assert decode_files([folder / data.names[0]], backbone, told).dtype == np.uint8


def test_a_damaged_row_of_a_deep_store_is_decoded_again(tmp_path):
    folder = made(tmp_path / "set", "12 bits")
    before = np.array(loaded(folder).pixels[3])
    data = loaded(folder)
    with open(data.pixels.filename, "r+b") as file:
        file.seek(3 * before.nbytes)
        file.write(b"\xff" * 8)
    with pytest.warns(RuntimeWarning, match="decoded again"):
        assert np.array_equal(data.pixels[3], before)
