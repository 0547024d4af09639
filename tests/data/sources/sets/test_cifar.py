"""CIFAR from binary batches, python batches and PNG folders: the same pixels, one identity."""

import pickle

import numpy as np
import pytest
from PIL import Image

from foldtune.data import read_source
from foldtune.data.sources.sets.cifar import unpickle
from foldtune.errors import InputError

NAMES = [f"class{n:03d}" for n in range(100)]


def records(count, seed):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 3072), dtype=np.uint8), list(range(count))


def write_binary(root, coarse=True):
    root.mkdir()
    (root / "fine_label_names.txt").write_text("\n".join(NAMES) + "\n")
    for split, count in (("train", 100), ("test", 5)):
        pixels, labels = records(count, count)
        head = np.array([[7, y] for y in labels], np.uint8) if coarse else np.array([labels]).T
        data = np.concatenate([head.astype(np.uint8), pixels], axis=1)
        (root / f"{split}.bin").write_bytes(data.tobytes())


def write_python(root):
    root.mkdir()
    for split, count in (("train", 100), ("test", 5)):
        pixels, labels = records(count, count)
        batch = {b"data": pixels, b"fine_labels": labels, b"coarse_labels": [0] * count}
        (root / split).write_bytes(pickle.dumps(batch))
    (root / "meta").write_bytes(pickle.dumps({b"fine_label_names": NAMES}))


def write_folders(root):
    for split, count in (("train", 100), ("test", 5)):
        for row, (pixels, label) in enumerate(zip(*records(count, count), strict=True)):
            folder = root / split / NAMES[label]
            folder.mkdir(parents=True, exist_ok=True)
            picture = pixels.reshape(3, 32, 32).transpose(1, 2, 0)
            Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{row}.png")


def write_npz(root):
    root.mkdir()
    arrays = {"classes": np.array(NAMES)}
    for split, count in (("train", 100), ("test", 5)):
        pixels, labels = records(count, count)
        images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays |= {f"{split}_images": images, f"{split}_labels": np.array(labels)}
    np.savez(root / "x.npz", **arrays)


def test_every_form_gives_the_same_identity(tmp_path):
    found = []
    for write in (write_binary, write_python, write_folders, write_npz):
        root = tmp_path / write.__name__
        write(root)
        spec = root / "x.npz" if write is write_npz else f"cifar100@{root}"
        listing = read_source(spec)
        from foldtune.data.store.build import fetch
        from foldtune.data.store.decode import Fit

        found.append(fetch(listing, Fit(32), tmp_path / f"cache {write.__name__}", workers=1))
        splits = [item.split for item in listing.items]
        assert (splits.count("train"), splits.count("test")) == (100, 5)
    assert len({stored.identity for stored in found}) == 1
    assert all((stored.pixels == found[0].pixels).all() for stored in found)


def test_cifar10_has_five_batches_and_names(tmp_path):
    for file in [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]:
        pixels, labels = records(2, 1)
        data = np.concatenate([np.array([labels], np.uint8).T, pixels], axis=1)
        (tmp_path / file).write_bytes(data.tobytes())
    (tmp_path / "batches.meta.txt").write_text("\n".join(f"c{n}" for n in range(10)) + "\n\n")
    listing = read_source(f"cifar10@{tmp_path}")
    assert listing.classes == tuple(f"c{n}" for n in range(10))
    assert len(listing.items) == 12
    assert listing.warnings[0] == "10 train images, the set has 50000"


def test_a_batch_that_is_cut_off_is_refused_by_name(tmp_path):
    write_binary(tmp_path / "x")
    file = tmp_path / "x" / "test.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"test\.bin in .* is damaged .*3074-byte records"):
        read_source(f"cifar100@{tmp_path / 'x'}")


def test_a_missing_batch_is_refused_by_name(tmp_path):
    write_python(tmp_path / "x")
    (tmp_path / "x" / "test").unlink()
    with pytest.raises(InputError, match="has no test; all batches are needed"):
        read_source(f"cifar100@{tmp_path / 'x'}")


def test_labels_of_the_other_cifar_are_refused(tmp_path):
    write_binary(tmp_path / "x")
    data = np.full((4, 3073), 200, np.uint8)
    for file in [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]:
        (tmp_path / "x" / file).write_bytes(data.tobytes())
    with pytest.raises(InputError, match="holds the label 200"):
        read_source(f"cifar10@{tmp_path / 'x'}")


def test_a_batch_that_would_run_code_is_refused():
    import os

    with pytest.raises(pickle.UnpicklingError, match=r"needs no posix\.getcwd; refused"):
        unpickle(pickle.dumps({"data": os.getcwd}))


def test_study_subsets_cut_training_batches(tmp_path):
    write_binary(tmp_path / "x")
    np.save(tmp_path / "train.npy", np.array([[5, 6], [7, 8]]))
    np.save(tmp_path / "val.npy", np.array([[1], [2]]))
    files = f"index={tmp_path}/train.npy,val_index={tmp_path}/val.npy,draw=1"
    listing = read_source(f"cifar100:{files}@{tmp_path / 'x'}")
    kept = {
        split: [i.label for i in listing.items if i.split == split] for split in ("train", "val")
    }
    assert kept == {"train": [7, 8], "val": [2]}
