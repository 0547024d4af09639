"""Layouts that people have beside class folders: metadata, tables beside folders, other names."""

import io
import json
import tarfile
import zipfile

import pyarrow
import pytest
from pyarrow import parquet

from data.conftest import encoded
from foldtune.data import read_source
from foldtune.data.splits import split_name
from foldtune.errors import InputError


def put(folder, names):
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(n))


def rows(labels, stem="{}.png", **more):
    return [{"file_name": stem.format(n), "label": k, **more} for n, k in enumerate(labels)]


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        table = [",".join(lines[0]), *(",".join(map(str, line.values())) for line in lines)]
        path.write_text("\n".join(table))
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(lines), path)
    else:
        path.write_text("\n".join(map(json.dumps, lines)))


def told(listing):
    return {(item.name, listing.classes[item.label], item.split) for item in listing.items}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_metadata_tells_the_classes_of_files_that_lie_flat(tmp_path, suffix):
    put(tmp_path, [f"{n}.png" for n in range(4)])
    write(tmp_path / f"metadata{suffix}", rows(["elm", "oak", "elm", "oak"]))
    listing = read_source(tmp_path)
    assert told(listing) == {
        ("0.png", "elm", None), ("1.png", "oak", None), ("2.png", "elm", None),
        ("3.png", "oak", None),
    }  # fmt: skip
    assert listing.open("1.png") == encoded(1)


def test_metadata_of_each_split_folder_is_joined(tmp_path):
    for split, labels in (("train", ["a", "b"]), ("test", ["b"])):
        put(tmp_path / split, [f"{n}.png" for n in range(len(labels))])
        write(tmp_path / split / "metadata.jsonl", rows(labels))
    assert told(read_source(tmp_path)) == {
        ("train/0.png", "a", "train"), ("train/1.png", "b", "train"), ("test/0.png", "b", "test"),
    }  # fmt: skip
    (tmp_path / "val").mkdir()
    with pytest.raises(InputError, match=r"val has no such file"):
        read_source(tmp_path)


def test_metadata_at_the_top_names_splits_by_folder(tmp_path):
    put(tmp_path, ["train/0.png", "test/1.png"])
    names = [{"file_name": "train/0.png", "label": "a"}, {"file_name": "test/1.png", "label": "b"}]
    write(tmp_path / "metadata.csv", names)
    assert {item.split for item in read_source(tmp_path).items} == {"train", "test"}


def test_metadata_without_labels_is_told_and_folders_are_read(make_folder):
    folder = make_folder({"a": 2, "b": 2})
    write(folder / "metadata.jsonl", [{"file_name": "a/000.png", "caption": "an elm"}])
    listing = read_source(folder)
    assert listing.classes == ("a", "b")
    assert listing.ledger.json() == {"metadata": ["metadata.jsonl"]}


@pytest.mark.parametrize("column", ["path", "file_name", "filename", "image_path", "id_code"])
@pytest.mark.parametrize("stem", ["{}.png", "{}", "train/{}.png"])
def test_kaggles_table_beside_its_folder(tmp_path, column, stem):
    put(tmp_path / "train", ["0.png", "1.png"])
    lines = [{column: stem.format(n), "class": k} for n, k in enumerate("ab")]
    write(tmp_path / "train.csv", lines)
    listing = read_source(tmp_path / "train.csv")
    assert {item.name for item in listing.items} == {"train/0.png", "train/1.png"}
    assert "missing" not in listing.stamps


def test_a_folder_of_flat_files_names_the_table_beside_them(tmp_path):
    put(tmp_path / "train", ["0.png", "1.png"])
    write(tmp_path / "train.csv", rows("ab"))
    with pytest.raises(InputError, match=r"holds train\.csv: give that file"):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Training", "train"), ("TEST", "test"), ("testing", "test"), ("Valid", "val"),
        ("validation", "val"), ("dev", "val"), ("train_set", "train"), ("cats", None), ("", None),
    ],
)  # fmt: skip
def test_splits_have_synonyms(name, split):
    assert split_name(name) == split


def test_folders_by_other_names_are_splits(make_folder):
    listing = read_source(make_folder({"Training/a": 2, "Training/b": 2, "Testing/a": 1}))
    assert {item.split for item in listing.items} == {"train", "test"}
    assert listing.classes == ("a", "b")


def test_a_zip_of_windows_is_read(tmp_path):
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n, k in enumerate("abab"):
            archive.writestr(zipfile.ZipInfo(f"set\\train\\{k}\\{n}.png"), encoded(n))
            archive.writestr(zipfile.ZipInfo(f"set\\test\\{k}\\{n}.png"), encoded(9 + n))
    listing = read_source(path)
    assert listing.classes == ("a", "b")
    assert {item.split for item in listing.items} == {"train", "test"}
    assert listing.open("set/train/b/1.png") == encoded(1)


@pytest.mark.parametrize("bad", ["..\\up.png", "a\\..\\..\\up.png", "C:\\up.png"])
def test_a_zip_of_windows_leads_nowhere_else(tmp_path, bad):
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(bad), encoded(1))
    with pytest.raises(InputError, match="outside the zip"):
        read_source(tmp_path / "w.zip")


def shard(path, files):
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_keys_with_dots_are_keys(tmp_path):
    files = {}
    for n, k in enumerate("abab"):
        files |= {f"cat.v1.{n}.jpg": encoded(n, ".jpg"), f"cat.v1.{n}.cls": k.encode()}
    listing = read_source(shard(tmp_path / "x.tar", files))
    assert [listing.classes[item.label] for item in listing.items] == list("abab")


def test_extensions_with_dots_stay_extensions(tmp_path):
    files = {}
    for n, k in enumerate("ab"):
        files |= {
            f"{n}.jpg": encoded(n, ".jpg"),
            f"{n}.seg.png": encoded(9),
            f"{n}.cls": k.encode(),
        }
    assert len(read_source(shard(tmp_path / "x.tar", files)).items) == 2


def _hf(path, labels, names=("oak", "elm", "fir")):
    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    table = pyarrow.table({
        "image": [{"bytes": encoded(n), "path": f"{n}.png"} for n in range(len(labels))],
        "label": labels,
    })  # fmt: skip
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(about), path)
    return path


def test_the_class_names_of_a_hugging_face_parquet_come_along(tmp_path):
    listing = read_source(_hf(tmp_path / "h.parquet", [0, 1, 2, 1]))
    assert listing.classes == ("oak", "elm", "fir")
    assert [listing.classes[item.label] for item in listing.items] == ["oak", "elm", "fir", "elm"]
    assert read_source(_hf(tmp_path / "i.parquet", [0, 2, 2])).classes == ("oak", "fir")
    with pytest.raises(InputError, match="label -1 and names 3 classes; unlabelled"):
        read_source(_hf(tmp_path / "j.parquet", [0, -1]))


def test_a_line_of_deep_json_is_refused(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"path": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(InputError, match="line 1 nests deeper than 64 levels"):
        read_source(tmp_path / "t.jsonl")
