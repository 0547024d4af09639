"""Several labels an image and numbers to predict are known as such in every format."""

import io
import json
import tarfile

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from foldtune.data import load_data
from foldtune.data.sources.source import read_source
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Regression, SingleLabel

HELD = [["a"], ["a", "b"], ["c"], [], ["b", "c"], ["a"], ["b"], ["c", "a"], ["a"], ["b"]]
NUMBERS = [0.25 + 1.5 * n for n in range(10)]


def encoded(number):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (20 * number, 90, 10)).save(file, "PNG")
    return file.getvalue()


def put(folder):
    for number in range(10):
        (folder / f"{number}.png").write_bytes(encoded(number))
    return [f"{number}.png" for number in range(10)]


def csv_of(folder, labels):
    joined = ["|".join(one) if isinstance(one, list) else one for one in labels]
    names = put(folder)
    lines = "".join(f"{name},{one}\n" for name, one in zip(names, joined, strict=True))
    (folder / "t.csv").write_text("path,label\n" + lines)
    return folder / "t.csv"


def hot_of(folder, labels):
    rows = [[int(name in one) for name in "abc"] for one in labels]
    names = put(folder)
    lines = "".join(
        f"{name},{','.join(map(str, row))}\n" for name, row in zip(names, rows, strict=True)
    )
    (folder / "t.csv").write_text("path,a,b,c\n" + lines)
    return folder / "t.csv"


def jsonl_of(folder, labels):
    rows = [{"path": name, "label": one} for name, one in zip(put(folder), labels, strict=True)]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "t.jsonl"


def parquet_of(folder, labels):
    table = pyarrow.table({"bytes": [encoded(n) for n in range(10)], "label": labels})
    parquet.write_table(table, folder / "t.parquet")
    return folder / "t.parquet"


def npz_of(folder, labels):
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(encoded(n)))) for n in range(10)])
    hot = isinstance(labels[0], list)
    told = np.array([[name in one for name in "abc"] for one in labels], int) if hot else labels
    np.savez(folder / "t.npz", images=pixels, labels=told, classes=np.array(list("abc")))
    return folder / "t.npz"


def shards_of(folder, labels):
    with tarfile.open(folder / "t.tar", "w") as tar:
        for number, one in enumerate(labels):
            about = json.dumps({"label": one}).encode()
            for name, data in ((f"{number}.png", encoded(number)), (f"{number}.json", about)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder / "t.tar"


FORMATS = (csv_of, jsonl_of, parquet_of, npz_of, shards_of)


@pytest.mark.parametrize("form", [*FORMATS, hot_of])
def test_several_labels_are_known_in_every_format(tmp_path, form):
    listing = read_source(form(tmp_path, HELD))
    assert listing.task == MultiLabel()
    names = listing.task.outputs(listing.classes)
    assert names == ("a", "b", "c")
    labels = np.array([item.label for item in listing.items])
    wanted = [[name in one for name in names] for one in HELD]
    np.testing.assert_array_equal(listing.task.targets(listing.classes, labels, names), wanted)


@pytest.mark.parametrize("form", FORMATS)
def test_numbers_are_known_in_every_format(tmp_path, form):
    listing = read_source(form(tmp_path, NUMBERS))
    assert listing.task == Regression()
    labels = np.array([item.label for item in listing.items])
    np.testing.assert_allclose(
        listing.task.targets(listing.classes, labels, ("value",)), NUMBERS, rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["labels", "names", "numbers"])
def test_a_hugging_face_set_tells_its_task(tmp_path, kind):
    datasets = pytest.importorskip("datasets")
    inner = datasets.ClassLabel(names=list("abc")) if kind == "names" else datasets.Value("string")
    features = {"image": datasets.Image(), "label": datasets.Sequence(inner)}
    labels = HELD
    if kind == "numbers":
        features["label"], labels = datasets.Value("float32"), NUMBERS
    rows = {"image": [{"bytes": encoded(n), "path": None} for n in range(10)], "label": labels}
    found = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    found.save_to_disk(str(tmp_path / "set"))
    listing = read_source(f"hf@{tmp_path / 'set'}")
    assert listing.task == (Regression() if kind == "numbers" else MultiLabel())
    if kind != "numbers":
        assert listing.task.outputs(listing.classes) == ("a", "b", "c")


def test_lists_of_marks_are_no_lists_of_labels(tmp_path):
    marks = [[int(name in one) for name in "abc"] for one in HELD]
    listing = read_source(jsonl_of(tmp_path, marks))
    assert listing.task.outputs(listing.classes) == ("0", "1", "2")
    labels = np.array([item.label for item in listing.items])
    found = listing.task.targets(listing.classes, labels, ("0", "1", "2"))
    np.testing.assert_array_equal(found, marks)


def test_lists_of_one_label_are_one_label(tmp_path):
    listing = read_source(jsonl_of(tmp_path, [["a"], ["b"]] * 5))
    assert (listing.task, listing.classes) == (None, ("a", "b"))


def test_one_label_an_image_is_loaded_as_ever(tmp_path):
    data = load_data(jsonl_of(tmp_path, ["a", "b"] * 5), size=8, cache=tmp_path / "cache")
    assert data.task == SingleLabel()
    assert data.targets is data.labels
    assert data.outputs == data.classes
    assert "task" not in data.facts


def test_labels_with_a_comma_are_asked_for(tmp_path):
    path = jsonl_of(tmp_path, ["bus, red", "car, red", "car", "bus"] * 2 + ["car", "bus"])
    with pytest.raises(InputError, match=r"t.jsonl: labels such as 'bus, red'.*--task"):
        load_data(path, size=8, cache=tmp_path / "cache")
    data = load_data(path, size=8, cache=tmp_path / "cache", task="SingleLabel")
    assert data.outputs == ("bus", "bus, red", "car", "car, red")


def test_folders_take_a_task_that_is_asked_for(tmp_path):
    for number, name in enumerate(("2", "10", "1")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for more in range(4):
            image = Image.new("RGB", (8, 8), (20 * more, 40 * number, 10))
            image.save(tmp_path / "set" / name / f"{more}.png")
    data = load_data(tmp_path / "set", size=8, cache=tmp_path / "cache", task="ordinal")
    assert data.outputs == ("1", "2", "10")
    assert data.classes == ("1", "10", "2")
    told = {data.names[row].split("/")[0]: grade for row, grade in enumerate(data.targets)}
    assert told == {"1": 0, "2": 1, "10": 2}
    numbers = load_data(tmp_path / "set", size=8, cache=tmp_path / "cache", task="Regression")
    assert set(numbers.targets.tolist()) == {1.0, 2.0, 10.0}
    assert numbers.identity == data.identity  # the pictures and their texts; the run knows the task
