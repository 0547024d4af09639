"""Folders as users of this field report them: nothing vanishes, and nothing turns black."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from data.conftest import encoded, picture
from foldtune.data import load_data, read_source
from foldtune.data.tools.check import describe, refuse_absent
from foldtune.errors import InputError

SIDE = 16


def load(source, **more):
    cache = source.parent / "cache"
    return load_data(source, size=more.pop("size", SIDE), workers=1, cache=cache, **more)


def test_a_class_of_broken_heic_files_is_not_lost(make_folder):
    folder = make_folder({"elm": 8, "fir": 8, "oak": 8})
    (folder / "dog").mkdir()
    for n in range(5):
        (folder / "dog" / f"IMG_{n}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    with pytest.raises(InputError, match=r"5 of 29 .*IMG_0\.HEIC"):
        load(folder)
    with pytest.raises(InputError, match="no image of class dog can be read"):
        load(folder, skip_broken=True)
    (folder / "zebra").mkdir()
    with pytest.raises(InputError, match="class folder zebra holds no picture"):
        load(folder)


@pytest.mark.parametrize("top", [65535, 4095, 800, 255])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_of_a_part_of_its_range_keeps_its_levels(top, form, tmp_path):
    grey = np.asarray(picture(0, (SIDE, SIDE)).convert("L")).astype(float) / 255
    for n in range(12):
        path = tmp_path / "set" / "ab"[n % 2] / f"{n}.{form.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = np.uint16 if form == "PNG" else np.int32
        samples = (np.roll(grey, n, 1) * top).round().astype(kind)
        file = io.BytesIO()
        Image.fromarray(samples).save(file, form)
        path.write_bytes(file.getvalue())
    data = load(tmp_path / "set")
    levels = len(np.unique(samples))
    assert len(np.unique(data.pixels[0])) == levels > 60  # one a level, at the size of the files
    span = int(data.pixels[:].max()) - int(data.pixels[:].min())
    assert span > 0.6 * 65535  # as spread as the picture itself


def test_ids_without_extension_are_found_and_missing_ones_told(make_folder):
    folder = make_folder({"oak": 5, "elm": 5})
    rows = [f"{name}/{n:03d},{name}" for name in ("oak", "elm") for n in range(5)]
    (folder / "t.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    assert describe(read_source(folder / "t.csv"))["missing_files"] == 0
    (folder / "t.csv").write_text("path,label\nx/1,oak\nx/2,elm\n")
    with pytest.raises(InputError, match="no file of images is there: 2 of 2 files are missing"):
        refuse_absent(read_source(folder / "t.csv"))


def test_class_names_of_a_parquet_and_alike_names_are_told(tmp_path, make_folder):
    told = {"info": {"features": {"image": {"_type": "Image"}, "label": {
        "names": ["oak", "elm", "fir"], "_type": "ClassLabel"}}}}  # fmt: skip
    table = pa.table({"image": [{"bytes": encoded(n), "path": f"{n}.png"} for n in range(12)],
                      "label": [n % 3 for n in range(12)]})  # fmt: skip
    table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    parquet.write_table(table, tmp_path / "h.parquet")
    assert read_source(tmp_path / "h.parquet").classes == ("oak", "elm", "fir")
    data = load(make_folder({"Oak": 5, "oak": 5, "elm": 5}))
    assert any("Oak" in line and "oak" in line for line in data.facts["warnings"])


def test_one_picture_under_two_labels_is_named(make_folder):
    folder = make_folder({"elm": 6, "oak": 6})
    (folder / "elm" / "zz.png").write_bytes((folder / "oak" / "000.png").read_bytes())
    warnings = load(folder).facts["warnings"]
    assert any("oak/000.png" in line and "elm/zz.png" in line for line in warnings)
