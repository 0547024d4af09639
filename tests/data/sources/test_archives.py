"""Tables with bytes, tar shards, npz and datasets list like the folder they were made of."""

import base64
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from data.conftest import encoded, picture
from data.sources.sets.native import seen
from foldtune.data import load_data, read_source
from foldtune.errors import InputError

ROWS = [(f"{n}.png", "ab"[n % 2], "train" if n < 4 else "test") for n in range(6)]


def write_parquet(path, images):
    import pyarrow
    from pyarrow import parquet

    columns = {"label": [c for _, c, _ in ROWS], "split": [s for *_, s in ROWS], **images}
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)


def as_parquet(folder):
    write_parquet(folder / "t.parquet", {"bytes": [encoded(n) for n in range(6)]})
    return folder / "t.parquet"


def as_hub_parquet(folder):
    images = [{"bytes": encoded(n), "path": None} for n in range(6)]
    write_parquet(folder / "t.parquet", {"image": images})
    return folder / "t.parquet"


def as_jsonl(folder):
    rows = [
        {"bytes": base64.b64encode(encoded(n)).decode(), "label": c, "split": s}
        for n, (_, c, s) in enumerate(ROWS)
    ]
    (folder / "t.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    return folder / "t.jsonl"


def as_jsonl_of_paths(folder):
    for n, (name, _, _) in enumerate(ROWS):
        (folder / name).write_bytes(encoded(n))
    rows = [json.dumps({"path": p, "label": c, "split": s}) for p, c, s in ROWS]
    (folder / "t.jsonl").write_text("\n".join(rows))
    return folder / "t.jsonl"


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))


def as_shards(folder, label=lambda c: ("cls", c.encode())):
    for split in ("train", "test"):
        members = []
        for n, (_, c, s) in enumerate(ROWS):
            if s == split:
                kind, text = label(c)
                members += [(f"{n:04d}.png", encoded(n)), (f"{n:04d}.{kind}", text)]
        write_tar(folder / f"{split}-000.tar", members)
    return f"wds@{folder}"


def as_json_shards(folder):
    return as_shards(folder, lambda c: ("json", json.dumps({"label": c}).encode()))


def as_tar_of_folders(folder):
    write_tar(folder / "x.tar", [(f"{s}/{c}/{p}", encoded(n)) for n, (p, c, s) in enumerate(ROWS)])
    return folder / "x.tar"


def as_npz(folder):
    arrays = {"classes": np.array(["a", "b"])}
    for split in ("train", "test"):
        rows = [n for n, (*_, s) in enumerate(ROWS) if s == split]
        arrays[f"x_{split}"] = np.stack([np.asarray(picture(n)) for n in rows])
        arrays[f"y_{split}"] = np.array(["ab".index(ROWS[n][1]) for n in rows])
    np.savez_compressed(folder / "t.npz", **arrays)
    return folder / "t.npz"


def as_saved_dataset(folder):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    splits = {}
    for split in ("train", "test"):
        rows = [n for n, (*_, s) in enumerate(ROWS) if s == split]
        images = [{"bytes": encoded(n), "path": None} for n in rows]
        labels = ["ab".index(ROWS[n][1]) for n in rows]
        splits[split] = datasets.Dataset.from_dict({"img": images, "label": labels}, features)
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")
    return f"hf@{folder / 'saved'}"


FORMS = [
    as_parquet, as_hub_parquet, as_jsonl, as_jsonl_of_paths, as_shards, as_json_shards,
    as_tar_of_folders, as_npz, as_saved_dataset,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_images_of_the_folder(tmp_path, form):
    from foldtune.data.store.build import fetch
    from foldtune.data.store.decode import Fit

    folder = tmp_path / "folder"
    for n, (name, label, split) in enumerate(ROWS):
        (folder / split / label).mkdir(parents=True, exist_ok=True)
        (folder / split / label / name).write_bytes(encoded(n))
    (tmp_path / "form").mkdir()
    listing = read_source(form(tmp_path / "form"))
    assert [split for *_, split in seen(listing)].count("train") == 4
    again = pickle.loads(pickle.dumps(listing))
    assert again.open(again.items[0].name) == listing.open(listing.items[0].name)
    expected = fetch(read_source(folder), Fit(8), tmp_path / "c1", workers=1)
    assert fetch(listing, Fit(8), tmp_path / "c2", workers=1).identity == expected.identity
    second = fetch(read_source(folder), Fit(8), tmp_path / "c1", progress=_never)
    assert second.identity == expected.identity


def _never(*_):
    raise AssertionError("decoded again")


def test_a_re_encoded_jpeg_is_another_identity(make_folder, tmp_path):
    png = make_folder({"a": 3, "b": 3}, name="png")
    jpg = make_folder({"a": 3, "b": 3}, name="jpg", suffix=".jpg")
    one, other = (load_data(f, size=8, cache=tmp_path / "cache") for f in (png, jpg))
    assert one.identity != other.identity


def test_a_tar_that_is_cut_off_is_refused(tmp_path):
    path = as_tar_of_folders(tmp_path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"x\.tar is not a whole, uncompressed tar"):
        read_source(path)


def test_a_compressed_shard_is_refused_with_the_cure(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO(b""))
    with pytest.raises(InputError, match=r"unpack a \.tar\.gz first"):
        read_source(tmp_path / "x.tar")


def test_missing_shards_are_refused_by_name(tmp_path):
    as_shards(tmp_path)
    assert len(read_source(f"wds@{tmp_path}/train-{{000..000}}.tar").items) == 4
    with pytest.raises(InputError, match=r"no shard .*train-002\.tar \(2 missing of 3\)"):
        read_source(f"wds@{tmp_path}/train-{{000..002}}.tar")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.png", b"x"), ("a.cls", b"0"), ("b.png", b"x")], "sample b in .* has no label"),
        ([("a.cls", b"0")], "sample a in .* has no image"),
        ([("a.png", b"x"), ("a.json", b"{")], r"a\.json in .* is not JSON"),
    ],
)
def test_an_incomplete_sample_is_refused_by_name(tmp_path, members, message):
    write_tar(tmp_path / "x.tar", members)
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 4, 4, 3), np.float64), "labels": [0, 1]}, "images in .* float64"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": [0, 1]}, r"\(2, 3, 8, 8\)"),
        ({"images": np.zeros((2, 8, 8, 65), np.uint8), "labels": [0, 1]}, r"\(2, 8, 8, 65\)"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0, 10**9]}, "label 1,000,000,000"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0, 2**62]}, "labels count classes"),
        ({"images": np.zeros((2, 4, 4, 4, 1), np.uint8), "labels": [0, 1]}, r"\(2, 4, 4, 4, 1\)"),
        ({"images": np.zeros((3, 4, 4), np.uint8), "labels": [0, 1]}, "3 images in images and 2"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [[0, 2], [1, 1]]}, "column of 0 and"),
        ({"pictures": np.zeros((2, 4, 4), np.uint8)}, "holds pictures; expected images and labels"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0, 2], "classes": ["a", "b"]},
         "holds the label 2, but there are 2 classes"),
    ],
)  # fmt: skip
def test_a_wrong_npz_is_refused_by_array(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **{key: np.asarray(value) for key, value in arrays.items()})
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "x.npz")


def test_arrays_that_are_not_what_they_say_are_refused_unread(tmp_path):
    path = tmp_path / "x.npz"
    zeros = io.BytesIO()
    np.save(zeros, np.zeros((2, 4, 4), np.uint8))
    claims = zeros.getvalue().replace(b"(2, 4, 4)", b"(2, 4,90)")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", claims)
        with archive.open("labels.npy", "w") as member:
            np.save(member, np.zeros(80 << 20, np.uint8))
    with pytest.raises(InputError, match=r"labels in .* unfolds from .* to 83,886,208 bytes"):
        read_source(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", claims)
        archive.writestr("labels.npy", zeros.getvalue().replace(b"(2, 4, 4)", b"(2,)     "))
    listing = read_source(path)
    with pytest.raises(InputError, match="says to hold 720 bytes and does not"):
        listing.open("images/0")


def test_a_cut_off_npz_is_refused(tmp_path):
    path = as_npz(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"is not a whole \.npz"):
        read_source(path)


def test_medmnist_has_its_classes_and_splits(tmp_path):
    arrays = {}
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        arrays[f"{split}_images"] = np.zeros((count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    np.savez(tmp_path / "pathmnist_64.npz", **arrays)
    for spec in (f"medmnist:pathmnist_64@{tmp_path}", f"medmnist@{tmp_path}/pathmnist_64.npz"):
        listing = read_source(spec)
        assert len(listing.classes) == 9
        assert [split for *_, split in seen(listing)].count("val") == 2
    with pytest.raises(InputError, match=r"get bloodmnist\.npz from MedMNIST"):
        read_source(f"medmnist:bloodmnist@{tmp_path}")
    with pytest.raises(InputError, match="14 labels an image"):
        read_source(f"medmnist:chestmnist@{tmp_path}")


def test_a_dataset_with_other_splits_is_refused_by_name(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_dict({"label": [0, 1]})
    datasets.DatasetDict({"train": one, "unsupervised": one}).save_to_disk(tmp_path / "d")
    with pytest.raises(InputError, match="unsupervised is none of train, validation, test"):
        read_source(f"hf@{tmp_path / 'd'}")
    one.save_to_disk(tmp_path / "e")
    with pytest.raises(InputError, match="has the image columns none of label"):
        read_source(f"hf@{tmp_path / 'e'}")
    with pytest.raises(InputError, match="cannot be loaded"):
        read_source(f"hf@{tmp_path / 'gone'}")
