"""Near duplicates are found across formats and scales, and flat or different pictures are not."""

import io

import numpy as np
import pytest
from PIL import Image

from data.conftest import picture
from foldtune.data import load_data
from foldtune.data.store.duplicates import alike, difference_hashes, near_duplicates


def prints_of(pixels):
    return np.array(difference_hashes(pixels), np.uint64)


def change(image, how):
    if how == "jpeg":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=40)
        return Image.open(file).convert("RGB")
    if how == "scale":
        return image.resize((20, 20)).resize(image.size)
    return image.point(lambda v: min(255, v + 6))


@pytest.mark.parametrize("how", ["jpeg", "scale", "brighter"])
def test_changed_copies_are_found_and_others_are_not(how):
    originals = [picture(seed, (48, 48)) for seed in range(20)]
    copies = [change(image, how) for image in originals[:5]]
    strangers = [picture(100 + seed, (48, 48)) for seed in range(15)]
    pixels = np.stack([np.asarray(image) for image in [*originals, *copies, *strangers]])
    pairs = near_duplicates(pixels, prints_of(pixels), range(20), range(20, 40))
    assert pairs == [(20 + n, n) for n in range(5)]


def test_images_of_one_picture_are_led_by_the_first():
    originals = [picture(seed, (48, 48)) for seed in range(6)]
    copies = [change(originals[n], how) for n in (1, 4) for how in ("jpeg", "scale")]
    pixels = np.stack([np.asarray(image) for image in [*originals, *copies]])
    assert alike(pixels, range(10)) == [[1, 6, 7], [4, 8, 9]]
    assert alike(pixels, [9, 2, 4]) == [[9, 4]]
    assert alike(pixels, [0, 2]) == alike(pixels, []) == []


def test_a_chain_of_small_changes_is_not_one_picture():
    # Each is within 8 greys of the next, the ends are 42 apart.
    first = np.asarray(picture(1, (48, 48))).astype(int) // 2
    pixels = np.stack([first + 6 * step for step in range(8)]).astype(np.uint8)
    clusters = alike(pixels, range(8))
    assert len(clusters) > 1
    assert max(map(len, clusters)) <= 3


def test_flat_images_of_other_colours_are_no_duplicates():
    pixels = np.stack([np.full((16, 16, 3), grey, np.uint8) for grey in (0, 100, 200)])
    assert near_duplicates(pixels, prints_of(pixels), [0, 1], [2]) == []


@pytest.mark.parametrize("side", [1, 7, 8, 9, 40])
def test_every_size_has_a_hash(side):
    pixels = np.stack([np.asarray(picture(seed, (side, side))) for seed in (3, 4)])
    prints = difference_hashes(pixels)
    assert all(0 <= found < 2**64 for found in prints)
    assert prints[1:] == difference_hashes(pixels[1:])  # no image's hash depends on the others


def test_loading_warns_of_test_images_that_are_nearly_in_train(make_folder, tmp_path):
    folder = make_folder({f"{split}/{c}": 4 for split in ("train", "val", "test") for c in "ab"})
    Image.open(folder / "train/a/000.png").save(folder / "test/a/copy.jpg", quality=95)
    data = load_data(folder, size=32, cache=tmp_path / "cache")
    assert data.facts["near_duplicates"]["test"] == 1
    assert any("test/a/copy.jpg (train/a/000.png)" in said for said in data.facts["warnings"])
    assert data.facts["shared_with_train"]["test"] == 0
