"""The five fine-grained sets in their own files, and in JSON split files."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from data.sources.sets.native import images, seen, texts
from foldtune.data import load_data, read_source
from foldtune.errors import InputError


def cub(root):
    paths = ["001.Black footed/a 1.jpg", "001.Black footed/b.jpg", "003.Sooty/c.jpg"]
    images(root / "images", paths)
    texts(root, {
        "images.txt": "".join(f"{n} {p}\n" for n, p in enumerate(paths, 1)),
        "image_class_labels.txt": "1 1\n2 1\n3 3\n",
        "train_test_split.txt": "1 1\n2 0\n3 1\n",
        "classes.txt": "1 001.Black footed\n2 002.Laysan\n3 003.Sooty\n",
    })  # fmt: skip
    return root


def nabirds(root):
    paths = ["0817/00aa-1.jpg", "0299/00bb-2.jpg", "1010/00cc-3.jpg"]
    images(root / "images", paths)
    texts(root, {
        "images.txt": "".join(f"{p[5:-4]} {p}\n" for p in paths),
        "image_class_labels.txt": "".join(f"{p[5:-4]} {int(p[:4])}\n" for p in paths),
        "train_test_split.txt": "00aa-1 1\n00bb-2 1\n00cc-3 0\n",
        "classes.txt": "0 Birds\n299 Oak Titmouse\n817 Oak Titmouse\n1010 Eagle (Adult)\n",
    })  # fmt: skip
    return root


def flowers(root):
    images(root / "jpg", [f"image_{n:05d}.jpg" for n in range(1, 5)])
    savemat(root / "imagelabels.mat", {"labels": np.array([[77, 1, 77, 1]], np.uint8)})
    ids = {"trnid": [[1, 2]], "valid": [[3]], "tstid": [[4]]}
    savemat(root / "setid.mat", {key: np.array(value, np.uint16) for key, value in ids.items()})
    return root


def dogs(root):
    paths = ["n02085620-Chihuahua/n02085620_1.jpg", "n02085782-Japanese_spaniel/n02085782_2.jpg"]
    images(root / "Images", [*paths, "n02085620-Chihuahua/n02085620_9.jpg"])
    texts(
        root, {"Annotation/n02085620-Chihuahua/n02085620_1": "<annotation><object/></annotation>"}
    )
    for split, files, labels in (
        ("train", paths, [1, 2]),
        ("test", ["n02085620-Chihuahua/n02085620_9.jpg"], [1]),
    ):
        cells = np.array([[f] for f in files], dtype=object)
        savemat(root / f"{split}_list.mat", {"file_list": cells, "labels": np.array([labels]).T})
    return root


def annotations(rows):
    kind = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
    return np.array([[(1, label, name) for name, label in rows]], dtype=kind)


def cars(root):
    images(root, ["cars_train/00001.jpg", "cars_train/00002.jpg", "cars_test/00001.jpg"])
    (root / "devkit").mkdir()
    train = annotations([("00001.jpg", 14), ("00002.jpg", 3)])
    savemat(root / "devkit/cars_train_annos.mat", {"annotations": train})
    test = annotations([("00001.jpg", 3)])
    savemat(root / "cars_test_annos_withlabels.mat", {"annotations": test})
    names = np.array([[f"Make {n}" for n in range(1, 197)]], dtype=object)
    savemat(root / "devkit/cars_meta.mat", {"class_names": names})
    return root


EXPECTED = {
    "cub": [
        ("images/001.Black footed/a 1.jpg", "001.Black footed", "train"),
        ("images/001.Black footed/b.jpg", "001.Black footed", "test"),
        ("images/003.Sooty/c.jpg", "003.Sooty", "train"),
    ],
    "nabirds": [
        ("images/0817/00aa-1.jpg", "Oak Titmouse (817)", "train"),
        ("images/0299/00bb-2.jpg", "Oak Titmouse (299)", "train"),
        ("images/1010/00cc-3.jpg", "Eagle (Adult)", "test"),
    ],
    "flowers": [
        ("jpg/image_00001.jpg", "77", "train"),
        ("jpg/image_00002.jpg", "1", "train"),
        ("jpg/image_00003.jpg", "77", "val"),
        ("jpg/image_00004.jpg", "1", "test"),
    ],
    "dogs": [
        ("Images/n02085620-Chihuahua/n02085620_1.jpg", "Chihuahua", "train"),
        ("Images/n02085782-Japanese_spaniel/n02085782_2.jpg", "Japanese_spaniel", "train"),
        ("Images/n02085620-Chihuahua/n02085620_9.jpg", "Chihuahua", "test"),
    ],
    "cars": [
        ("cars_train/00001.jpg", "Make 14", "train"),
        ("cars_train/00002.jpg", "Make 3", "train"),
        ("cars_test/00001.jpg", "Make 3", "test"),
    ],
}
MAKE = {"cub": cub, "nabirds": nabirds, "flowers": flowers, "dogs": dogs, "cars": cars}


@pytest.fixture(params=MAKE)
def name(request):
    return request.param


@pytest.fixture
def root(name, tmp_path):
    folder = tmp_path / "set" / name
    folder.mkdir(parents=True)
    return MAKE[name](folder)


def test_native_files_give_images_classes_and_splits(name, root):
    listing = read_source(f"{name}@{root}")
    assert seen(listing) == EXPECTED[name]
    assert "missing" not in listing.stamps
    assert any("classes, the set has" in said for said in listing.warnings)


def test_a_folder_above_is_descended(name, root):
    assert seen(read_source(f"{name}@{root.parent}")) == EXPECTED[name]


def test_json_split_files_give_the_same_images(name, root):
    split = {"train": {}, "val": {}, "test": {}}
    ids = {label: 10 * n + 3 for n, label in enumerate(sorted({e[1] for e in EXPECTED[name]}))}
    for path, label, kind in EXPECTED[name]:
        bare = path if name == "cars" else path.split("/", 1)[1]
        split[kind][bare] = ids[label]
    split["val"] = split["val"] or dict(list(split["train"].items())[:1])
    split["train"] = {k: v for k, v in split["train"].items() if k not in split["val"]}
    texts(root, {f"{kind}.json": json.dumps(rows) for kind, rows in split.items()})
    listing = read_source(f"{name}:vpt@{root}")
    assert "missing" not in listing.stamps
    assert listing.classes == tuple(str(3 + 10 * n) for n in range(len(ids)))
    assert {item.split for item in listing.items} == {"train", "val", "test"}
    assert any("train.json is not used" in said for said in read_source(f"{name}@{root}").warnings)


@pytest.mark.parametrize(
    ("kind", "file", "message"),
    [
        ("cub", "image_class_labels.txt", "has no image_class_labels.txt; unpack the archive"),
        ("flowers", "imagelabels.mat", "has no imagelabels.mat; it holds labels or splits"),
        ("dogs", "test_list.mat", "has no test_list.mat"),
        ("cars", "cars_test_annos_withlabels.mat", "has no devkit/cars_test_annos_withlabels.mat"),
        ("nabirds", "train_test_split.txt", "has neither train_test_split.txt nor train.json"),
    ],
)
def test_a_missing_file_is_refused_by_name(tmp_path, kind, file, message):
    root = tmp_path / "x"
    root.mkdir()
    (MAKE[kind](root) / file).unlink()
    with pytest.raises(InputError) as caught:
        read_source(f"{kind}@{root}")
    assert message in str(caught.value)


@pytest.mark.parametrize(("kind", "file"), [("flowers", "setid.mat"), ("dogs", "train_list.mat")])
def test_a_cut_off_mat_is_refused_by_name(tmp_path, kind, file):
    path = MAKE[kind](tmp_path) / file
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(InputError, match=f"{file} in .* is not a readable .mat"):
        read_source(f"{kind}@{tmp_path}")


def test_a_flower_beyond_the_labels_is_refused(tmp_path):
    flowers(tmp_path)
    savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[1, 2]])})
    with pytest.raises(
        InputError, match=r"setid\.mat .* names image 3, but imagelabels\.mat has 2"
    ):
        read_source(f"flowers@{tmp_path}")


def test_val_is_drawn_from_train_where_none_is_published(tmp_path):
    paths = [f"c{n % 2}/{n}.jpg" for n in range(20)]
    images(tmp_path / "images", paths)
    rows = list(enumerate(paths, 1))
    texts(tmp_path, {
        "images.txt": "".join(f"{n} {p}\n" for n, p in rows),
        "image_class_labels.txt": "".join(f"{n} {1 + n % 2}\n" for n, _ in rows),
        "train_test_split.txt": "".join(f"{n} {int(n <= 10)}\n" for n, _ in rows),
    })  # fmt: skip
    data = load_data(f"cub@{tmp_path}", size=8, cache=tmp_path / "cache")
    assert data.facts["counts"] == {"train": 8, "val": 2, "test": 10}


@pytest.mark.parametrize("text", ["[1]", '{"a.jpg": "x"}', "{"])
def test_a_json_file_of_another_form_is_refused(tmp_path, text):
    texts(cub(tmp_path), {f"{split}.json": text for split in ("train", "val", "test")})
    with pytest.raises(InputError, match=r"train\.json in .* is (no map of file names|not JSON)"):
        read_source(f"cub:vpt@{tmp_path}")
