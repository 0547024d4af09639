"""A picture has one key, whatever its size here, its file's name and its format."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from data.conftest import encoded, picture
from foldtune.data import load_data, read_source
from foldtune.data.splits import SPLITS
from foldtune.data.store.decode import Fit, decode_with_key, key_of
from foldtune.data.store.keys import find_keys, known_marks, remember
from foldtune.data.streaming import stream_data


def file_of(image, form, **how):
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


@pytest.mark.parametrize("fit", [Fit(3), Fit(12), Fit(16, "crop"), Fit(9, "crop", "nearest")])
def test_a_key_knows_no_size(fit):
    assert decode_with_key(encoded(5), fit).key == key_of(encoded(5))


SAME = {
    "RGB": (picture(1), ("PNG", "BMP", "TIFF", "PPM")),
    "grey": (picture(1).convert("L"), ("PNG", "BMP", "TIFF", "PPM")),
    "alpha": (picture(1).convert("RGBA"), ("PNG", "TIFF")),
    "16 bits": (picture(1).convert("L").convert("I;16"), ("PNG", "TIFF", "PPM")),
    "one bit": (picture(1).convert("1"), ("PNG", "BMP", "TIFF", "PPM")),
    "palette": (picture(1).quantize(16), ("PNG", "BMP", "TIFF")),
}


@pytest.mark.parametrize("name", SAME)
def test_a_key_knows_no_lossless_format(name):
    image, forms = SAME[name]
    assert len({key_of(file_of(image, form)) for form in forms}) == 1


def test_a_palette_is_a_way_to_store_colours():
    image = picture(1).quantize(16)
    assert key_of(file_of(image, "PNG")) == key_of(file_of(image.convert("RGB"), "PNG"))


def test_a_key_is_of_the_upright_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = file_of(picture(1), "PNG", exif=exif)
    upright = picture(1).transpose(Image.Transpose.ROTATE_270)
    assert key_of(turned) == key_of(file_of(upright, "PNG")) != key_of(encoded(1))


def test_channels_depth_shape_and_every_sample_are_part_of_a_key():
    grey = picture(1).convert("L")
    changed = np.asarray(grey).copy()
    changed[-1, -1] ^= 1
    others = [
        grey, grey.convert("RGB"), grey.convert("RGBA"), grey.convert("I;16"), grey.convert("F"),
        Image.fromarray(np.asarray(grey).reshape(16, 12)), Image.fromarray(changed),
        grey.convert("CMYK"),
    ]  # fmt: skip
    assert len({key_of(file_of(image, "TIFF")) for image in others}) == len(others)


def to_npz(folder, path):
    files = sorted(folder.rglob("*.png"))
    classes = sorted({file.parent.name for file in files})
    np.savez(
        path.with_suffix(".npz"),
        images=np.stack([np.asarray(Image.open(file)) for file in files]),
        labels=np.array([classes.index(file.parent.name) for file in files]),
        classes=np.array(classes),
    )
    return path.with_suffix(".npz")


def to_tar(folder, path):
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        for file in sorted(folder.rglob("*.png"), reverse=True):
            archive.add(file, file.relative_to(folder))
    return path.with_suffix(".tar")


def to_table(folder, path):
    rows = [f"{file},{file.parent.name}" for file in sorted(folder.rglob("*.png"))[::-1]]
    path.with_suffix(".csv").write_text("path,label\n" + "\n".join(rows))
    return path.with_suffix(".csv")


def to_parquet(folder, path):
    files = sorted(folder.rglob("*.png"), key=lambda file: file.name)
    columns = {"image": [f.read_bytes() for f in files], "label": [f.parent.name for f in files]}
    parquet.write_table(pa.table(columns), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def to_tiff(folder, path):
    """The same pictures, in another format and under other names."""
    for number, file in enumerate(sorted(folder.rglob("*.png"))):
        target = path / file.parent.name / f"{997 * number % 1000}.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).save(target)
    return path


FORMS = (to_npz, to_tar, to_table, to_parquet, to_tiff)
FITS = ({"size": 8}, {"size": 14, "resize": "crop"}, {"size": 5, "interpolation": "nearest"})


def membership(data):
    return {name: {data.keys[row].tobytes()[:16] for row in data.split(name)} for name in SPLITS}


def test_who_is_in_which_split_follows_the_picture_alone(make_folder, make_zip, tmp_path):
    folder = make_folder({"a": 15, "b": 11})
    sources = [folder, make_zip(folder), *(to(folder, tmp_path / to.__name__) for to in FORMS)]
    cache = tmp_path / "cache"
    expected = membership(load_data(folder, size=11, seed=4, cache=tmp_path / "first"))
    assert [len(expected[name]) for name in SPLITS] == [16, 5, 5]
    for source in sources:
        for fit in FITS:
            data = load_data(source, **fit, seed=4, cache=cache, workers=1)
            assert membership(data) == expected, (source, fit)
        assert membership(stream_data(source, size=7, seed=4, cache=cache)) == expected, source
    fresh = stream_data(folder, size=7, seed=4, cache=tmp_path / "fresh", workers=1)
    assert membership(fresh) == expected


def test_shots_follow_the_picture_alone(make_folder, tmp_path):
    folder = make_folder({"a": 15, "b": 11})
    other = to_tiff(folder, tmp_path / "tiff")
    few = [
        membership(load_data(source, size=size, cache=tmp_path / "cache").few_shot(3, 1))
        for source in (folder, other) for size in (6, 13)
    ]  # fmt: skip
    assert all(one == few[0] for one in few)
    assert membership(stream_data(other, size=9, cache=tmp_path / "c2").few_shot(3, 1)) == few[0]


def test_identical_pictures_are_never_parted(make_folder, tmp_path):
    folder = make_folder({"a": 20, "b": 20})
    for number in range(10):
        for label in "ab":  # a copy, and one under the other label
            data = (folder / "a" / f"{number:03d}.png").read_bytes()
            (folder / label / f"twin{number}.png").write_bytes(data)
    for seed in range(8):
        held = membership(load_data(folder, size=8, seed=seed, cache=tmp_path / "cache"))
        assert not held["train"] & (held["val"] | held["test"])
        assert not held["val"] & held["test"]


def test_keys_are_known_by_name_and_stamp(make_folder, tmp_path):
    folder, cache = make_folder({"a": 3, "b": 3}), tmp_path / "cache"
    load_data(folder, size=8, seed=None, cache=cache)
    listing = read_source(folder)
    keys = [mark[:16].tobytes() for mark in known_marks(listing, cache)]
    assert keys == [bytes.fromhex(key_of(listing.open(item.name))) for item in listing.items]
    assert find_keys(listing, cache) == keys
    (folder / "a/001.png").write_bytes(encoded(50))
    assert known_marks(read_source(folder), cache).any(1).tolist() == [True, False, *[True] * 4]


def test_a_known_file_with_a_new_key_is_told(make_folder, tmp_path):
    folder, cache = make_folder({"a": 3, "b": 3}), tmp_path / "cache"
    load_data(folder, size=8, cache=cache)
    listing = read_source(folder)
    marks = known_marks(listing, cache)
    marks[2, :16] ^= 255  # as another decoder would have seen it
    assert remember(listing, cache, marks) == ["a/002.png"]
    assert (known_marks(listing, cache) == marks).all()
    warnings = load_data(folder, size=9, cache=cache).facts["warnings"]
    assert any("1 known files, such as a/002.png" in said for said in warnings)
