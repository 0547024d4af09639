"""Streamed pixels are the decoded ones, come when asked for, and are decoded once for ever."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from data.conftest import encoded
from foldtune.data import load_data, read_source
from foldtune.data.store.decode import Fit
from foldtune.data.store.stream import StreamedPixels
from foldtune.data.streaming import stream_data
from foldtune.errors import InputError

FIT = Fit(8)


@dataclass(frozen=True)
class Noting:
    """Leaves a line for each image it serves."""

    open: object
    log: Path

    def __call__(self, name):
        with self.log.open("a") as file:
            file.write(name + "\n")
        return self.open(name)


@pytest.fixture
def folder(make_folder):
    return make_folder({"train/a": 30, "train/b": 30, "test/a": 3, "test/b": 3})


@pytest.fixture
def listing(folder, tmp_path):
    found = read_source(folder)
    return replace(found, open=Noting(found.open, tmp_path / "log"))


def test_streamed_pixels_are_the_decoded_ones_where_splits_are_given(make_folder, tmp_path):
    folder = make_folder({f"{split}/{c}": 4 for split in ("train", "val", "test") for c in "ab"})
    streamed = stream_data(folder, size=8, cache=tmp_path / "cache", workers=2)
    assert streamed.pixels.count_decoded() < 24  # nothing was waited for
    stored = load_data(folder, size=8, cache=tmp_path / "cache")
    place = {name: row for row, name in enumerate(stored.names)}
    rows = [place[name] for name in streamed.names]
    assert (streamed.pixels[streamed.split("test", "train")].shape) == (16, 8, 8, 3)
    assert (streamed.pixels[np.arange(24)] == stored.pixels[rows]).all()
    assert (streamed.keys[np.arange(24)] == stored.keys[rows]).all()
    assert streamed.labels.tolist() == stored.labels[rows].tolist()
    assert streamed.identity.startswith("listing:")
    assert streamed.facts["counts"] == stored.facts["counts"]


def test_a_stream_whose_splits_are_drawn_is_the_loaded_data(folder, tmp_path):
    streamed = stream_data(folder, size=8, cache=tmp_path / "cache", workers=2)
    stored = load_data(folder, size=8, cache=tmp_path / "other")
    assert streamed.identity == stored.identity
    assert streamed.names == stored.names
    assert streamed.facts["split_hash"] == stored.facts["split_hash"]
    assert streamed.facts["content"] == stored.facts["content"]
    rows = np.arange(len(stored.names))
    assert (streamed.pixels[rows] == stored.pixels[rows]).all()
    assert (streamed.keys == stored.keys).all()


def test_splits_of_files_that_were_decoded_before_at_another_size_are_drawn_at_once(
    folder, tmp_path
):
    load_data(folder, size=16, cache=tmp_path / "cache")
    assert stream_data(folder, size=8, cache=tmp_path / "cache").pixels.count_decoded() == 0


def test_an_index_gives_what_an_array_gives(listing, tmp_path):
    pixels = StreamedPixels(listing, FIT, tmp_path / "s", 1)
    whole = pixels[np.arange(len(pixels))]
    assert (pixels[3] == whole[3]).all()
    assert (pixels[[5, 2, 5]] == whole[[5, 2, 5]]).all()
    assert pixels[np.array([], int)].shape == (0, 8, 8, 3)
    assert np.asarray(pixels[2:4]).shape == (2, 8, 8, 3)


def test_the_first_rows_come_before_the_others_are_decoded(listing, tmp_path):
    pixels = StreamedPixels(listing, FIT, tmp_path / "s", 1)
    assert pixels[[50, 7]].any()
    assert pixels.count_decoded() < len(pixels)
    pixels.close()


def test_expected_rows_are_decoded_in_their_order(listing, tmp_path):
    pixels = StreamedPixels(listing, FIT, tmp_path / "s", 1)
    order = np.arange(len(pixels))[::-1]
    pixels.expect(order)
    pixels[order]
    pixels.close()
    names = [listing.items[row].name for row in order]
    assert (tmp_path / "log").read_text().split() == names


def test_no_image_file_is_read_twice_in_this_run_or_a_later_one(listing, tmp_path):
    rows = np.arange(len(listing.items))
    for _ in range(2):
        pixels = StreamedPixels(listing, FIT, tmp_path / "s", 2)
        for _ in range(2):
            for start in range(0, len(rows), 16):
                pixels[rows[start : start + 16]]
        pixels.close()
    assert sorted((tmp_path / "log").read_text().split()) == [i.name for i in listing.items]


def test_a_stopped_run_goes_on_where_it_was(listing, tmp_path):
    first = StreamedPixels(listing, FIT, tmp_path / "s", 1)
    first[[0, 1, 2]]
    first.close()
    done = first.count_decoded()
    again = StreamedPixels(listing, FIT, tmp_path / "s", 1)
    assert again.count_decoded() == done >= 3
    again[np.arange(len(again))]
    again.close()
    assert len((tmp_path / "log").read_text().split()) == len(listing.items)


def test_a_broken_image_is_refused_by_name_and_tried_again_later(make_folder, tmp_path):
    folder = make_folder({f"{split}/{c}": 4 for split in ("train", "val", "test") for c in "ab"})
    (folder / "train/a/003.png").write_bytes(b"no image")
    data = stream_data(folder, size=8, cache=tmp_path / "cache", workers=1)
    row = data.names.index("train/a/003.png")
    with pytest.raises(InputError, match=r"train/a/003\.png cannot be read \(not an image\)"):
        data.pixels[[row]]
    data.pixels.close()
    (folder / "train/a/003.png").write_bytes(encoded(1))
    assert stream_data(folder, size=8, cache=tmp_path / "cache").pixels[[row]].any()


def test_a_closed_stream_refuses_what_is_not_decoded(listing, tmp_path):
    pixels = StreamedPixels(listing, FIT, tmp_path / "s", 1)
    pixels.close()
    with pytest.raises(InputError, match="was closed"):
        pixels[[1]]


def test_training_takes_a_stream_for_an_array(folder, tmp_path):
    import torch
    from torch import nn

    from foldtune.training.loop import train
    from foldtune.training.recipe import Recipe

    data = stream_data(folder, size=8, cache=tmp_path / "cache", workers=1)
    stored = data.pixels[np.arange(len(data.labels))]
    recipe = Recipe(epochs=2, batch_size=16, warmup_epochs=0.0)
    losses = []
    for pixels in (stream_data(folder, size=8, cache=tmp_path / "new", workers=1).pixels, stored):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        result = train(
            model, pixels, data.labels, data.split("train"), recipe,
            prepare=lambda b, _: b.float() / 255, seed=0,
        )  # fmt: skip
        losses.append([entry["loss"] for entry in result.curve])
    assert losses[0] == losses[1]
