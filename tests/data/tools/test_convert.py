"""A converted source is the source: pixels, labels, splits, classes; a stopped call goes on."""

import io

import pytest
from PIL import Image

from data.conftest import picture
from data.sources.sets.native import images, texts
from foldtune.data import load_data, read_source
from foldtune.data.tools.convert import convert
from foldtune.errors import InputError


@pytest.fixture
def source(make_folder):
    """Class folders with what cameras and browsers make: EXIF, palette, CMYK, 16 bits, alpha."""
    folder = make_folder({"train/ä b": 6, "train/cat": 6, "test/cat": 2}, suffix=".jpg")
    odd = folder / "test" / "ä b"
    odd.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(90).save(odd / "sideways.jpg", exif=exif)
    picture(91).convert("P").save(odd / "palette.png")
    picture(92).convert("CMYK").save(odd / "cmyk.tif")
    picture(93).convert("RGBA").save(odd / "alpha.webp")
    picture(94).convert("L").convert("I;16").save(odd / "wide.png")
    first = picture(95)
    first.save(odd / "moving.gif", save_all=True, append_images=[picture(96)])
    return folder


@pytest.mark.parametrize("size", [8, 24])
def test_a_converted_source_has_the_sources_identity_and_splits(source, tmp_path, size):
    told = convert(source, tmp_path / "out")
    assert (told["images"], told["written"]) == (20, 20)
    ours, theirs = (
        load_data(s, size=size, cache=tmp_path / f"cache{s.name}")
        for s in (tmp_path / "out", source)
    )
    assert ours.identity == theirs.identity
    assert ours.classes == theirs.classes
    assert ours.facts["split_hash"] == theirs.facts["split_hash"]
    assert not (tmp_path / "out" / "images" / "0000" / "000000.part").exists()


def test_a_stopped_conversion_goes_on(source, tmp_path):
    out = tmp_path / "out"
    convert(source, out)
    before = (out / "foldtune.csv").read_bytes()
    (out / "foldtune.csv").unlink()
    (out / "images/0000/000005.png").unlink()
    kept = (out / "images/0000/000004.png").stat().st_mtime_ns
    assert convert(source, out)["written"] == 1
    assert (out / "images/0000/000004.png").stat().st_mtime_ns == kept
    assert (out / "foldtune.csv").read_bytes() == before


def test_classes_without_images_and_their_order_are_kept(tmp_path):
    lists = {"train800": [("a.png", 3)], "val200": [("b.png", 2)], "test": [("c.png", 1)]}
    images(tmp_path / "kitti", [name for rows in lists.values() for name, _ in rows])
    texts(tmp_path / "kitti", {
        f"{file}.txt": "".join(f"{n} {y}\n" for n, y in rows) for file, rows in lists.items()
    })  # fmt: skip
    convert(f"vtab:kitti@{tmp_path}", tmp_path / "out")
    ours, theirs = (
        load_data(s, size=8, cache=tmp_path / "cache")
        for s in (tmp_path / "out", f"vtab:kitti@{tmp_path}")
    )
    assert ours.identity == theirs.identity
    assert ours.classes == ("0", "1", "2", "3")
    assert ours.facts["split_hash"] == theirs.facts["split_hash"]


def test_groups_are_carried_along(tmp_path):
    images(tmp_path, [f"{n}.png" for n in range(4)])
    rows = "".join(f"{n}.png,{'ab'[n % 2]},p{n // 2}\n" for n in range(4))
    texts(tmp_path, {"t.csv": "path,label,group\n" + rows})
    convert(tmp_path / "t.csv", tmp_path / "out")
    assert read_source(tmp_path / "out").groups == ("p0", "p0", "p1", "p1")


def test_loaded_images_keep_their_groups(tmp_path):
    images(tmp_path, [f"{n}.png" for n in range(12)])
    rows = "".join(f"{n}.png,{'ab'[n % 2]},p{n // 2}\n" for n in range(12))
    texts(tmp_path, {"t.csv": "path,label,group\n" + rows})
    found = load_data(tmp_path / "t.csv", size=8, cache=tmp_path / "cache")
    numbers = [int(name.split("/")[-1].removesuffix(".png")) for name in found.names]
    assert found.groups == tuple(f"p{n // 2}" for n in numbers)


def test_another_source_or_a_full_folder_is_refused(source, tmp_path, make_folder):
    convert(source, tmp_path / "out")
    other = make_folder({"x": 1, "y": 1}, name="other")
    with pytest.raises(InputError, match="holds the conversion of another source"):
        convert(other, tmp_path / "out")
    with pytest.raises(InputError, match="is not empty"):
        convert(source, other)


def test_unreadable_images_are_refused_by_name(make_folder, tmp_path):
    folder = make_folder({"a": 2, "b": 2})
    file = io.BytesIO()
    picture(1).save(file, "PNG")
    (folder / "a/001.png").write_bytes(file.getvalue()[:-30])
    with pytest.raises(InputError, match=r"1 of 4 images cannot be read: a/001\.png \(.*runcated"):
        convert(folder, tmp_path / "out")
    (folder / "a/001.png").write_bytes(file.getvalue())


def test_a_label_that_the_class_file_does_not_list_is_refused(tmp_path):
    texts(tmp_path, {"t.csv": "path,label\na.png,x\nb.png,y\n", "t.classes.txt": "x\nz\n"})
    with pytest.raises(
        InputError, match=r"holds the label 'y', which t\.classes\.txt does not list"
    ):
        read_source(tmp_path / "t.csv")
