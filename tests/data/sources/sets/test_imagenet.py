"""ImageNet-1K and its shifts: classes are synsets, in the order of an ImageNet head."""

import numpy as np
import pytest
from scipy.io import savemat

from data.sources.sets.native import images, seen, texts
from foldtune.data import load_data, read_source
from foldtune.data.sources.sets import set_parts
from foldtune.data.sources.sets.synsets import imagenet_labels, synsets
from foldtune.data.sources.spec import parse_spec
from foldtune.errors import InputError

TENCH, SHARK = "n01440764", "n01484850"


def devkit(root, truth="2\n1\n"):
    images(root, [f"train/{TENCH}/{TENCH}_1.JPEG", f"train/{SHARK}/{SHARK}_1.JPEG"])
    images(root, [f"val/ILSVRC2012_val_{n:08d}.JPEG" for n in (1, 2)])
    kit = "ILSVRC2012_devkit_t12/data"
    texts(root, {f"{kit}/ILSVRC2012_validation_ground_truth.txt": truth})
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    rows = np.array([(1, SHARK, "white shark"), (2, TENCH, "tench")], dtype=kind)
    savemat(root / kit / "meta.mat", {"synsets": rows.reshape(-1, 1)})
    return root


def test_the_synsets_are_a_thousand_in_order():
    assert len(synsets()) == 1000
    assert synsets()[0] == TENCH
    assert list(synsets()) == sorted(synsets())


def test_the_devkit_tells_the_classes_of_flat_images(tmp_path):
    listing = read_source(f"imagenet@{devkit(tmp_path)}")
    assert listing.classes == (TENCH, SHARK)
    assert seen(listing)[2:] == [
        ("val/ILSVRC2012_val_00000001.JPEG", TENCH, "test"),
        ("val/ILSVRC2012_val_00000002.JPEG", SHARK, "test"),
    ]
    assert listing.warnings == ("imagenet: 2 of 1000 classes",)


def test_val_folders_alone_are_for_evaluation(tmp_path):
    images(tmp_path, [f"val/{TENCH}/1.JPEG", f"val/{SHARK}/2.JPEG"])
    data = load_data(f"imagenet:val@{tmp_path}", size=8, cache=tmp_path / "cache")
    assert data.facts["counts"] == {"train": 0, "val": 0, "test": 2}
    assert data.facts["split_rule"] == "as published, for evaluation only"


def test_a_missing_devkit_is_refused_with_the_cure(tmp_path):
    root = devkit(tmp_path)
    (root / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt").unlink()
    with pytest.raises(InputError, match=r"unpack ILSVRC2012_devkit_t12.tar.gz into the folder"):
        read_source(f"imagenet@{root}")


def test_a_damaged_meta_file_is_refused(tmp_path):
    root = devkit(tmp_path)
    (root / "ILSVRC2012_devkit_t12/data/meta.mat").write_bytes(b"MATLAB 5.0 cut")
    with pytest.raises(InputError, match=r"is not the devkit's meta\.mat"):
        read_source(f"imagenet@{root}")


def test_an_id_that_the_devkit_does_not_know_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds the id 7"):
        read_source(f"imagenet@{devkit(tmp_path, truth='7' + chr(10) + '1' + chr(10))}")


def test_folders_of_v2_are_numbers_not_words(tmp_path):
    images(tmp_path, ["0/a.jpeg", "10/a.jpeg", "2/a.jpeg"])
    listing = read_source(f"imagenet-v2@{tmp_path}")
    assert imagenet_labels(listing.classes) == (0, 2, 10)
    assert [label for _, label, _ in seen(listing)] == [synsets()[n] for n in (0, 10, 2)]


@pytest.mark.parametrize("name", ["imagenet-a", "imagenet-r", "imagenet-sketch"])
def test_synset_folders_with_blanks_in_names_are_read(tmp_path, name):
    images(tmp_path, [f"{SHARK}/0.0001_shark _ pool_0.99.jpg", f"{TENCH}/fisch über wasser.jpg"])
    listing = read_source(f"{name}@{tmp_path}")
    assert listing.classes == (TENCH, SHARK)
    assert {split for *_, split in seen(listing)} == {"test"}
    data = load_data(f"{name}@{tmp_path}", size=8, cache=tmp_path / "cache")
    assert data.facts["counts"]["test"] == 2


def test_an_unknown_class_folder_is_refused(tmp_path):
    images(tmp_path, ["n99999999/a.jpg"])
    with pytest.raises(InputError, match="lies in 'n99999999', not a synset"):
        read_source(f"imagenet-r@{tmp_path}")


def corrupted(root):
    images(root, [f"{c}/{s}/{w}/1.JPEG" for c in ("fog", "snow") for s in (1, 3)
                  for w in (TENCH, SHARK)])  # fmt: skip
    return root


def test_a_corruption_has_severities(tmp_path):
    corrupted(tmp_path)
    assert len(read_source(f"imagenet-c:fog,severity=3@{tmp_path}").items) == 2
    assert len(read_source(f"imagenet-c:snow@{tmp_path}").items) == 4
    parts = set_parts(parse_spec(f"imagenet-c@{tmp_path}"))
    assert [spec.part for spec in parts] == ["fog", "snow"]


@pytest.mark.parametrize(
    ("part", "message"),
    [("frog", "choose from: fog, snow"), ("fog,severity=6", "unknown severity '6'")],
)
def test_a_wrong_corruption_is_refused_with_the_nearest(tmp_path, part, message):
    with pytest.raises(InputError, match=message):
        read_source(f"imagenet-c:{part}@{corrupted(tmp_path)}")


def test_a_class_that_is_no_synset_has_no_label():
    with pytest.raises(InputError, match="'cat' is none of ImageNet-1K's synsets"):
        imagenet_labels(["cat"])
