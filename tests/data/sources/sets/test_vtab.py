"""VTAB-1K by its lists: aliases, classes, labels in range; what differs is told."""

import pytest

from data.sources.sets.native import images, seen, texts
from foldtune.data import load_data, read_source
from foldtune.data.sources.sets.vtab import GROUPS, TASKS, task_name
from foldtune.errors import InputError

LISTS = {
    "train800.txt": [("images/train800/000000.png", 0), ("images/train800/000001.png", 3)],
    "val200.txt": [("images/val200/000000.png", 1)],
    "test.txt": [("images/test/000000.png", 2), ("images/test/with blank 1.png", 3)],
}


def make(root, task="kitti", lists=LISTS):
    folder = root / task
    images(folder, [name for rows in lists.values() for name, _ in rows])
    lines = {f: "".join(f"{n} {y}\n" for n, y in rows) for f, rows in lists.items()}
    texts(folder, lines)
    both = lines.get("train800.txt", "") + lines.get("val200.txt", "")
    texts(folder, {"train800val200.txt": both})
    return folder


def test_there_are_19_tasks_in_three_groups_of_7_4_and_8():
    groups = [task.group for task in TASKS.values()]
    assert [groups.count(group) for group in GROUPS] == [7, 4, 8]
    names = [name for task, about in TASKS.items() for name in (task, *about.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("alias", "task"),
    [("cifar100", "cifar"), ("pets", "oxford_iiit_pet"), ("Flowers102", "oxford_flowers102")],
)
def test_aliases_name_the_task(alias, task):
    assert task_name(alias) == task


@pytest.mark.parametrize("folder", ["kitti", "Kitti", "kitti_distance"])
def test_lists_give_images_labels_and_splits(tmp_path, folder):
    make(tmp_path, folder)
    listing = read_source(f"vtab:kitti@{tmp_path}")
    assert seen(listing)[-1] == ("images/test/with blank 1.png", "3", "test")
    assert listing.classes == ("0", "1", "2", "3")
    assert "kitti: 2 train images, the benchmark has 800" in listing.warnings
    assert "missing" not in listing.stamps


def test_a_class_without_training_images_is_kept(tmp_path):
    make(tmp_path)
    data = load_data(f"vtab:kitti@{tmp_path}", size=8, cache=tmp_path / "cache")
    assert data.facts["counts"] == {"train": 2, "val": 1, "test": 2}
    assert data.facts["split_rule"] == "as given"
    assert len(data.facts["warnings"]) == 3


def test_the_root_may_be_the_task_or_a_zip(tmp_path, make_zip):
    folder = make(tmp_path / "vtab")
    packed = make_zip(folder.parent)
    expected = seen(read_source(f"vtab:kitti@{folder.parent}"))
    for root in (folder, packed, f"{packed}/kitti"):
        assert seen(read_source(f"vtab:kitti@{root}")) == expected


def test_lists_that_contradict_each_other_are_told(tmp_path):
    texts(make(tmp_path), {"train800val200.txt": "images/x.png 0\n"})
    assert any("hold different labels" in w for w in read_source(f"vtab:kitti@{tmp_path}").warnings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("test.txt", None), "has no test.txt; export the task again"),
        (("test.txt", "images/test/000000.png 4\n"), "has the label 4, but the labels are 0 to 3"),
        (("test.txt", "images/a.png one\n"), "test.txt: line 1 is 'images/a.png one'"),
        (("val200.txt", "\n"), "val200.txt is empty"),
    ],
)
def test_a_wrong_list_is_refused_by_file(tmp_path, change, message):
    folder, (name, text) = make(tmp_path), change
    (folder / name).unlink()
    if text is not None:
        texts(folder, {name: text})
    with pytest.raises(InputError) as caught:
        read_source(f"vtab:kitti@{tmp_path}")
    assert message in str(caught.value)


def test_a_list_that_names_a_missing_image_is_refused_by_image(tmp_path):
    (make(tmp_path) / "images/test/000000.png").unlink()
    with pytest.raises(InputError, match=r"1 of 5 images cannot be read: images/test/000000.png"):
        load_data(f"vtab:kitti@{tmp_path}", size=8, cache=tmp_path / "cache")


def test_a_missing_task_is_refused_with_the_folders_there_are(tmp_path):
    make(tmp_path)
    with pytest.raises(InputError, match="no folder dtd; its folders are: kitti"):
        read_source(f"vtab:dtd@{tmp_path}")
