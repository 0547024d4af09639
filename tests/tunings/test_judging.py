"""What is judged was never trained on: whatever its size, name, format or drawing of splits."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.data.membership import Membership
from foldtune.data.streaming import stream_data
from foldtune.errors import InputError
from foldtune.study.fit import fit
from foldtune.training.recipe import Recipe
from foldtune.tunings.judging import Known, choose, validation_rows
from foldtune.tunings.tuning import evaluate_tuning, header_of, merge_tuning, open_tuning

RECIPE = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, lr=3e-3)
COLOURS = {"oak": (200, 40, 40), "elm": (40, 200, 60), "fir": (50, 70, 230)}


def picture(label, seed, side=24):
    noise = np.random.default_rng(seed).normal(0, 30, (side, side + 6, 3))
    return Image.fromarray(np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8))


def tree(root, labels=tuple(COLOURS), count=12, seed=0):
    for number, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for i in range(count):
            picture(label, 1000 * number + seed + i).save(root / label / f"{i:03d}.png")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("judging")


@pytest.fixture(scope="module")
def folder(home):
    return tree(home / "photos")


@pytest.fixture(scope="module")
def read(home):
    def load(source, size=16, **how):
        return load_data(source, size=size, cache=home / "cache", **{"seed": None} | how)

    return load


@pytest.fixture(scope="module")
def tuning(folder, home, read):
    """Trained on splits that seed 5 drew, and on cropped images."""
    data, backbone = read(folder, seed=5, resize="crop"), load_backbone("micro", size=16)
    return fit(data, backbone, "LinearProbe", recipe=RECIPE, out=home / "tuning").tuning


@pytest.fixture(scope="module")
def trained(folder, read):
    """The names of its training images."""
    data = read(folder, seed=5)
    return {data.names[row] for row in data.split("train")}


def known_of(path):
    return Known.of([path], [header_of(path)])


@pytest.mark.parametrize(
    "how", [{}, {"size": 32}, {"seed": 0}, {"resize": "crop"}, {"interpolation": "nearest"}]
)
def test_its_own_test_images_are_judged_however_they_are_read(tuning, folder, read, how):
    data, own = read(folder, **how), read(folder, seed=5)
    chosen = choose(known_of(tuning), data)
    assert (chosen.split, chosen.trained_on, chosen.notes) == ("test", 0, ())
    names = {own.names[row] for row in own.split("test")}
    assert {data.names[row] for row in chosen.rows} == names
    assert len(names) == 6


def test_a_stream_of_its_own_images_is_known_as_such(tuning, folder, read, home):
    data = stream_data(folder, size=8, seed=None, cache=home / "cache")
    chosen = choose(known_of(tuning), data)
    assert (chosen.split, len(chosen.rows), chosen.trained_on) == ("test", 6, 0)


def test_what_it_was_trained_on_is_left_out_and_counted(tuning, folder, read, trained):
    data = read(folder)
    chosen = choose(known_of(tuning), data, "all")
    assert not {data.names[row] for row in chosen.rows} & trained
    assert len(chosen.rows) == 36 - len(trained)
    assert chosen.notes == (
        f"{len(trained)} of 36 were trained on: left out",
        "9 of 36 were its validation images: judged",
    )
    with pytest.raises(InputError, match=f"all {len(trained)} images of photos .train. were train"):
        choose(known_of(tuning), data, "train")


def test_figures_that_include_what_was_trained_on_are_called_so(tuning, folder, read, trained):
    attachment, backbone, header = open_tuning(tuning)
    data = read(folder)
    chosen = choose(known_of(tuning), data, "all", included=True)
    told = evaluate_tuning(attachment, backbone, data, header["classes"], chosen)
    assert (told["images"], told["trained_on"]) == (36, len(trained))
    assert "top1" not in told
    assert 0 <= told["top1_including_trained"] <= 1
    assert "(--include-trained)" in chosen.notes[0]


def test_renamed_copies_in_another_format_are_known_among_new_images(
    tuning, folder, read, trained, tmp_path
):
    mixed = tree(tmp_path / "mixed", count=2, seed=500)
    for number, name in enumerate(sorted(trained)[:5]):
        Image.open(folder / name).save(mixed / name.split("/")[0] / f"copy{number}.tif")
    zipped = shutil.make_archive(str(tmp_path / "mixed"), "zip", mixed)
    chosen = choose(known_of(tuning), read(zipped, size=20))
    assert (chosen.split, chosen.asked, len(chosen.rows)) == ("all", 11, 6)
    assert chosen.notes == ("5 of 11 were trained on: left out",)


def test_all_of_other_data_is_judged_also_of_one_image_or_without_a_class(tuning, read, tmp_path):
    attachment, backbone, header = open_tuning(tuning)
    for labels, count in ((("oak", "elm"), 3), (("fir",), 1)):
        data = read(tree(tmp_path / labels[0], labels, count, seed=700))
        chosen = choose(known_of(tuning), data)
        told = evaluate_tuning(attachment, backbone, data, header["classes"], chosen)
        assert (told["split"], told["images"]) == ("all", count * len(labels))
        assert told["absent"] == [c for c in header["classes"] if c not in labels]
    # What is absent by chance is not ruled out for the model: its logits are as they were.
    assert told["nll"] == pytest.approx(
        evaluate_tuning(attachment, backbone, data, ["elm", "fir", "oak"], chosen)["nll"]
    )


def test_an_unknown_class_is_refused_by_name_or_mapped(tuning, read, tmp_path):
    attachment, backbone, header = open_tuning(tuning)
    tree(tmp_path / "a", ("oak", "elm"), 2, seed=800)
    (tmp_path / "a" / "oak").rename(tmp_path / "a" / "ash")
    data = read(tmp_path / "a")
    chosen = choose(known_of(tuning), data)
    with pytest.raises(InputError, match="class 'ash' of a is none of the tuning's 3 classes"):
        evaluate_tuning(attachment, backbone, data, header["classes"], chosen)
    for mapping, images in (({"ash": "oak"}, 4), ({"ash": ""}, 2)):
        told = evaluate_tuning(attachment, backbone, data, header["classes"], chosen, mapping)
        assert told["images"] == images


def test_given_splits_of_other_data_are_picked_by_name(tuning, read, tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        tree(tmp_path / "b" / split, ("oak", "elm"), count, seed=900 + count * 10)
    data = read(tmp_path / "b")
    assert len(choose(known_of(tuning), data).rows) == 10
    assert len(choose(known_of(tuning), data, "test").rows) == 4
    with pytest.raises(InputError, match="no images in its split val"):
        choose(known_of(tuning), data, "val")
    with pytest.raises(InputError, match="unknown split 'tests'"):
        choose(known_of(tuning), data, "tests")
    whole = read(tree(tmp_path / "c", count=1, seed=990))
    with pytest.raises(InputError, match="c gives no splits, so it has no test"):
        choose(known_of(tuning), whole, "test")


def older(tuning, path):
    """The tuning as a foldtune wrote it that kept no membership."""
    with safe_open(tuning, "pt") as file:
        names = [name for name in file.keys() if not name.startswith("pictures:")]  # noqa: SIM118
        tensors, header = (
            {n: file.get_tensor(n) for n in names},
            json.loads(file.metadata()["foldtune"]),
        )
    header["format"] = 2
    del header["hash"]
    save_file(tensors, path, {"foldtune": json.dumps(header)})
    return path


def test_an_older_tuning_is_read_and_says_what_it_cannot_tell(tuning, folder, read, tmp_path):
    known = known_of(older(tuning, tmp_path / "old.safetensors"))
    chosen = choose(known, read(folder))
    assert (chosen.split, len(chosen.rows)) == ("all", 36)
    assert "whether it was trained on these images cannot be told" in chosen.notes[0]
    rows, why = validation_rows(known, read(folder))
    assert not len(rows)
    assert "gives no splits" in why


def test_a_known_file_that_is_decoded_to_other_pixels_is_known_still(tuning, folder, read):
    data = read(folder)
    keys = data.keys.copy()
    keys[:, :16] ^= 255  # as if another decoder had seen them
    chosen = choose(known_of(tuning), replace(data, keys=keys), "all")
    assert chosen.trained_on == len(choose(known_of(tuning), data, "train", included=True).rows)
    assert "are known by their files alone" in chosen.notes[1]


def test_validation_that_was_trained_on_chooses_nothing(tuning, folder, read):
    data = read(folder)
    rows, why = validation_rows(known_of(tuning), data)
    assert (len(rows), why) == (9, None)
    known = known_of(tuning)
    both = replace(
        known,
        membership=Membership(known.membership.parts, ("train", "val")),
        trained_on=("train", "val"),
    )
    assert validation_rows(both, data)[1] == "it was trained on validation, too"


def test_a_certificate_looks_at_images_that_it_was_not_trained_on(tuning, folder, read, tmp_path):
    backbone = load_backbone("micro", size=16)
    out = tmp_path / "m.safetensors"
    certificate = merge_tuning(tuning, out, backbone, read(folder))
    assert (certificate.images, certificate.trained_on) == (15, 0)
    data = read(folder)
    own = known_of(tuning)
    few = replace(data, splits={"test": choose(own, data, "train", included=True).rows})
    certificate = merge_tuning(tuning, out, backbone, few)
    assert certificate.trained_on == certificate.images
    assert "of them trained on" in str(certificate)


def test_test_images_that_are_in_train_too_are_left_out_of_the_test_figure(read, tmp_path):
    root = tmp_path / "given"
    for split, seed in (("train", 0), ("val", 30), ("test", 60)):
        tree(root / split, count=3, seed=seed)
    Image.open(root / "train/oak/001.png").save(root / "test/oak/twin.bmp")
    (root / "test/oak/twin.bmp").rename(root / "test/oak/twin.tif")
    data, backbone = read(root, seed=0), load_backbone("micro", size=16)
    row = fit(data, backbone, "LinearProbe", recipe=RECIPE).row
    assert (row["test_images"], row["test_trained_on"]) == (9, 1)


def test_a_test_split_that_is_all_in_train_is_refused_before_training(read, tmp_path):
    for split in ("train", "val", "test"):
        tree(tmp_path / "same" / split, count=2, seed=40 if split == "val" else 0)
    with pytest.raises(InputError, match="every one of the 6 test images of same is"):
        fit(read(tmp_path / "same", seed=0), load_backbone("micro", size=16), "LinearProbe")
