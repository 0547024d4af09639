"""Embedded images are the same on every call, and their labels are what is drawn."""

import math

import numpy as np
import pytest

from foldtune.data.sources import embedded
from foldtune.data.sources.embedded import (
    TASKS,
    Scene,
    digits,
    draw,
    embedded_listing,
    embedded_names,
    scene,
    shapes,
)
from foldtune.data.store.decode import Fit, decode
from foldtune.errors import InputError


@pytest.mark.parametrize("name", embedded_names())
def test_a_listing_is_complete_and_repeatable(name):
    first, again = embedded_listing(name), embedded_listing("embedded:" + name)
    assert first.items == again.items
    assert first.classes == again.classes
    assert {item.label for item in first.items} == set(range(len(first.classes)))
    assert len(first.stamps) == len(first.items)
    last = first.items[-1].name
    assert first.open(last) == again.open(last)


def test_digits_use_the_full_range_of_bytes():
    listing = digits()
    pixels = np.stack([decode(listing.open(item.name), Fit(8)) for item in listing.items[:50]])
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert (pixels == pixels[..., :1]).all()


def test_tasks_share_their_images():
    listings = [shapes(task, count=20) for task in TASKS]
    for item in listings[0].items:
        assert len({listing.open(item.name) for listing in listings}) == 1


def test_another_seed_draws_other_images():
    assert shapes("count", seed=0).open("0") != shapes("count", seed=1).open("0")


def test_labels_are_even_and_independent():
    scenes = [scene(0, i) for i in range(2000)]
    table = np.array([(s.count, s.position, s.orientation) for s in scenes])
    for column, task in enumerate(TASKS):
        counts = np.bincount(table[:, column])
        expected = 2000 / len(TASKS[task])
        assert abs(counts - expected).max() < 5 * math.sqrt(expected)
    assert abs(np.corrcoef(table.T)[np.triu_indices(3, 1)]).max() < 0.1


@pytest.fixture
def covers_of(monkeypatch):
    """The pixels that each shape of a scene covers, the marker's first."""

    def covers(what: Scene) -> list[np.ndarray]:
        found = []
        paint = embedded._paint

        def spy(canvas, centre, corners, radius, random):
            blank = np.zeros_like(canvas)
            paint(blank, centre, corners, radius, np.random.default_rng(0))
            found.append(blank.any(0))
            paint(canvas, centre, corners, radius, random)

        with monkeypatch.context() as patch:
            patch.setattr(embedded, "_paint", spy)
            draw(what)
        return found

    return covers


@pytest.mark.parametrize("position", range(16))
def test_the_marker_lies_whole_in_its_cell(covers_of, position):
    marker, central = (
        covers_of(Scene(0, cell, 0, 0.4 * position, (0, cell)))[0] for cell in (position, 5)
    )
    down, right = np.argwhere(marker).mean(0) - np.argwhere(central).mean(0)
    row, column = divmod(position, 4)
    assert abs(down - 14 * (row - 1)) < 0.5
    assert abs(right - 14 * (column - 1)) < 0.5
    assert abs(int(marker.sum()) - int(central.sum())) <= 3


@pytest.mark.parametrize("orientation", range(8))
def test_the_marker_points_where_its_label_says(covers_of, orientation):
    angle = orientation * math.pi / 4
    places = np.argwhere(covers_of(Scene(0, 5, orientation, angle, (3, orientation)))[0])
    arms = places - places.mean(0)
    down, right = arms[np.argmax((arms**2).sum(1))]
    off = (math.atan2(down, right) - angle + math.pi) % (2 * math.pi) - math.pi
    assert abs(off) < math.pi / 16


@pytest.mark.parametrize("count", range(6))
def test_as_many_small_shapes_are_drawn_apart_as_the_label_says(covers_of, count):
    for seed in range(20):
        covers = covers_of(Scene(count, seed % 16, 0, 0.3 * seed, (7, seed)))
        assert len(covers) == count + 2
        assert np.sum(covers, 0).max() == 1
        assert all(cover.sum() > 8 for cover in covers)


@pytest.mark.parametrize(
    ("name", "part"),
    [("embedded:digit", "choose from: digits"), ("shapes/cuont", "choose from: shapes/count")],
)
def test_a_misspelt_name_lists_the_names(name, part):
    with pytest.raises(InputError, match=part):
        embedded_listing(name)
