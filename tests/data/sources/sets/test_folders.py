"""Sets of folders: domains, Tiny-ImageNet in its native layout, RESISC45, EuroSAT; CLEVR."""

import json

import pytest

from data.sources.sets.native import images, seen, texts
from foldtune.data import load_data, read_source
from foldtune.data.sources.sets import set_parts
from foldtune.data.sources.spec import parse_spec
from foldtune.errors import InputError


@pytest.fixture
def pacs(make_folder):
    domains = ("photo", "art", "sketch")
    counts = {f"pacs/{d}/{c}": 4 for d in domains for c in ("dog", "horse")}
    return make_folder({**counts, "pacs/sketch/house": 2})


def test_one_domain_is_a_set_with_drawn_splits(pacs):
    listing = read_source(f"domains:photo@{pacs}")
    assert listing.classes == ("dog", "horse")
    assert {split for *_, split in seen(listing)} == {None}


def test_some_domains_train_and_another_tests(pacs, make_zip):
    for root in (pacs, make_zip(pacs), f"{make_zip(pacs)}/pacs"):
        listing = read_source(f"domains:train=photo+art,test=sketch,map={_map(pacs)}@{root}")
        kept = [(name.split("/")[0], split) for name, _, split in seen(listing)]
        assert set(kept) == {("photo", "train"), ("art", "train"), ("sketch", "test")}
        assert listing.classes == ("dog", "horse")


def _map(root):
    texts(root.parent, {"map.csv": "dog,dog\nhorse,horse\n"})
    return root.parent / "map.csv"


def test_a_class_of_the_test_domain_alone_is_refused(pacs, tmp_path):
    with pytest.raises(InputError, match="no training image of class house, which test holds"):
        load_data(f"domains:train=photo,test=sketch@{pacs}", size=8, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("phto", "unknown domain of .*'phto'; choose from: photo, "),
        ("", "names no domain; write domains:art@"),
        ("train=photo,test=photo", "trains and tests on photo"),
        ("art,train=photo", "names 'art' and train="),
    ],
)
def test_wrong_domains_are_refused(pacs, part, message):
    with pytest.raises(InputError, match=message):
        read_source(f"domains:{part}@{pacs}")


def test_the_parts_of_domains_are_the_domains(pacs):
    parts = set_parts(parse_spec(f"domains@{pacs}"))
    assert [spec.part for spec in parts] == ["art", "photo", "sketch"]


@pytest.mark.parametrize("val", ["native", "folders"])
def test_tiny_imagenet_is_read_in_both_layouts(tmp_path, val):
    root = tmp_path / "tiny-imagenet-200"
    images(root, [f"train/{w}/images/{w}_0.JPEG" for w in ("n01443537", "n01629819")])
    if val == "native":
        images(root, ["val/images/val_0.JPEG"])
        texts(root, {"val/val_annotations.txt": "val_0.JPEG\tn01629819\t0\t0\t62\t62\n"})
    else:
        images(root, ["val/n01629819/val_0.webp"])
    images(root, ["test/images/test_0.JPEG"])
    for given in (root, tmp_path):
        listing = read_source(f"tiny-imagenet@{given}")
        assert [(label, split) for _, label, split in seen(listing)] == [
            ("n01443537", "train"), ("n01629819", "train"), ("n01629819", "test"),
        ]  # fmt: skip


def test_tiny_imagenet_without_its_annotations_is_refused(tmp_path):
    images(tmp_path, ["train/n01443537/images/a.JPEG", "val/images/val_0.JPEG"])
    with pytest.raises(InputError, match=r"has no val/val_annotations.txt; it tells the classes"):
        read_source(f"tiny-imagenet@{tmp_path}")


@pytest.mark.parametrize(("name", "classes"), [("resisc45", 45), ("eurosat", 10)])
def test_other_sizes_than_the_set_has_are_told(make_folder, name, classes):
    listing = read_source(f"{name}@{make_folder({'a': 1, 'b': 1})}")
    assert listing.warnings[0] == f"{name}: 2 classes, the set has {classes}"


def clevr(root, distances=(7.9, 8.1, 9.7, 12.0)):
    for folder in ("train", "val"):
        names = [f"CLEVR_{folder}_{n:06d}.png" for n in range(len(distances))]
        images(root / "images" / folder, names)
        scenes = [
            {"image_filename": name, "objects": [{"pixel_coords": [1, 2, d + n]} for n in range(4)]}
            for name, d in zip(names, distances, strict=True)
        ]
        texts(root, {f"scenes/CLEVR_{folder}_scenes.json": json.dumps({"scenes": scenes})})
    return root


def test_clevr_is_labelled_by_the_nearest_object_or_by_their_number(tmp_path):
    listing = read_source(f"clevr-distance@{clevr(tmp_path)}")
    assert [label for _, label, split in seen(listing) if split == "test"] == [
        "below 8", "8 to 8.5", "9.5 to 10", "above 10",
    ]  # fmt: skip
    assert {label for _, label, _ in seen(read_source(f"clevr-count@{tmp_path}"))} == {"4"}


def test_clevr_without_scenes_is_refused_by_file(tmp_path):
    (clevr(tmp_path) / "scenes/CLEVR_val_scenes.json").write_text("{")
    with pytest.raises(InputError, match=r"CLEVR_val_scenes\.json in .* is not JSON"):
        read_source(f"clevr-distance@{tmp_path}")
