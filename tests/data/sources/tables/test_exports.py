"""What annotation tools export for classification is read; what has no one label is refused."""

import json

import pytest

from data.conftest import encoded
from foldtune.data import read_source
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel

NAMES = ("oak", "elm", "fir")


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for n in range(6):
        (tmp_path / "images" / f"{n}.png").write_bytes(encoded(n))
    return tmp_path


def coco(count=6, first="", **more):
    return {
        "images": [{"id": n, "file_name": f"{first}{n}.png"} for n in range(count)],
        "annotations": [{"id": n, "image_id": n, "category_id": 7 - n % 3} for n in range(count)],
        "categories": [{"id": 7 - n, "name": name} for n, name in enumerate(NAMES)],
    } | more


def written(path, told):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))
    return path


def labels(listing):
    return {item.name: listing.classes[item.label] for item in listing.items}


@pytest.mark.parametrize("first", ["images/", ""])
def test_coco_is_read_with_its_files_below_or_beside_in_images(images, first):
    found = read_source(written(images / "c.json", coco(first=first)))
    assert found.classes == NAMES  # as the export orders them, not by name
    assert labels(found) == {f"images/{n}.png": NAMES[n % 3] for n in range(6)}


def test_boxes_of_one_category_are_one_label_and_of_two_are_several(images):
    twice = coco()
    twice["annotations"].append({"image_id": 1, "category_id": 6, "bbox": [0, 0, 1, 1]})
    assert labels(read_source(written(images / "c.json", twice)))["images/1.png"] == "elm"
    twice["annotations"].append({"image_id": 1, "category_id": 7})
    assert isinstance(read_source(written(images / "c.json", twice)).task, MultiLabel)


def test_a_coco_file_in_each_split_is_read_with_the_splits(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / split).mkdir()
        for n in range(6):
            (tmp_path / split / f"{n}.png").write_bytes(encoded(n))
        written(tmp_path / split / "_annotations.coco.json", coco())
    found = read_source(tmp_path)
    assert [i.split for i in found.items].count("val") == 6
    assert set(found.classes) == set(NAMES)


@pytest.mark.parametrize(
    "address",
    ["/data/upload/3/{}.png", "/data/upload/3/0a1b2c3d-{}.png", "{}.png", "images/{}.png",
     "/data/local-files/?d=photos/images/{}.png", "s3://bucket/x/{}.png",
     "https://example.org/a/{}.png?token=1"],
)  # fmt: skip
@pytest.mark.parametrize("small", [False, True])
def test_label_studio_is_read_by_the_names_of_its_files(images, address, small):
    tasks = [
        {"id": n, "image": address.format(n), "choice": NAMES[n % 3]} if small else
        {"id": n, "data": {"image": address.format(n)}, "annotations": [
            {"was_cancelled": True, "result": []},
            {"result": [{"type": "choices", "value": {"choices": [NAMES[n % 3]]}}]}]}
        for n in range(6)
    ]  # fmt: skip
    found = read_source(written(images / "project-1.json", tasks))
    assert labels(found) == {f"images/{n}.png": NAMES[n % 3] for n in range(6)}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([{"data": {"image": "0.png"}, "annotations": []}], "0.png has no label"),
        ([{"data": {"text": "x"}}], "task 1 has no image"),
        ({"a": 1}, "no export that is known"),
        (coco(categories=[]), "names no category"),
        (coco(images=[{"id": 1}]), "file_name"),
        ([1], "must be an object"),
    ],
)
def test_what_is_no_classification_is_refused(images, told, said):
    with pytest.raises(InputError, match=said):
        read_source(written(images / "c.json", told))


def test_several_choices_are_several_labels_and_none_is_then_an_answer(images):
    chosen = (["a", "b"], ["b"], [])
    tasks = [{"image": f"{n}.png", "choice": {"choices": chosen[n % 3]}} for n in range(6)]
    found = read_source(written(images / "c.json", tasks))
    assert isinstance(found.task, MultiLabel)
    assert len(found.items) == 6


def test_an_address_does_not_leave_the_folder(images):
    (images.parent / "secret.png").write_bytes(encoded(1))
    tasks = [{"image": f"../{n}.png", "choice": "a"} for n in ("secret", "x")]
    found = read_source(written(images / "c.json", tasks))
    assert not any(".." in item.name for item in found.items)
