"""Labelled images that need no download: scikit-learn's digits, and drawn shapes.

The shapes stand for the structured tasks of VTAB: every image carries three labels, of which a
task reads one, so a backbone must find how many things there are, where one is, or how it is
turned, with everything else varying. Flips and crops change position and orientation: train these
two without augmentation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from foldtune.data.sources.arrays import as_file
from foldtune.data.sources.listing import Item, Listing
from foldtune.errors import unknown_name

SIDE = 64
_GRID = (10.5, 24.5, 38.5, 52.5)  # centres of the 4 x 4 cells, in pixels
_SHAPES = 2000
_REACH = 13  # no shape is larger than this from its centre
_SIDES = (0, 3, 4, 5)  # of the small shapes; 0 is a disc
TASKS: dict[str, tuple[str, ...]] = {
    "count": tuple(str(n) for n in range(1, 7)),
    "position": tuple(f"row {i + 1} column {j + 1}" for i in range(4) for j in range(4)),
    "orientation": tuple(f"{45 * i} degrees" for i in range(8)),
}
_PREFIX = "embedded:"


def embedded_listing(name: str) -> Listing:
    """The listing of an embedded name, such as `digits` or `shapes/count`."""
    bare = name.removeprefix(_PREFIX)
    if bare not in embedded_names():
        raise unknown_name("embedded data", bare, embedded_names())
    return digits() if bare == "digits" else shapes(bare.removeprefix("shapes/"))


def embedded_names() -> tuple[str, ...]:
    return ("digits", *(f"shapes/{task}" for task in TASKS))


def is_embedded(name: str) -> bool:
    """Whether a name means embedded data, rightly spelt or not, rather than a path."""
    return name in embedded_names() or name.startswith((_PREFIX, "shapes/"))


@dataclass(frozen=True)
class DigitReader:
    """Serves 8 x 8 greys of 0..16 as images, so that digits go the way of all files."""

    greys: np.ndarray = field(repr=False)  # (images, 8, 8) uint8

    def __call__(self, name: str) -> bytes:
        return as_file(np.repeat(self.greys[int(name)][:, :, None], 3, axis=2))


def digits() -> Listing:
    """scikit-learn's 1,797 handwritten digits of 8 x 8, grey 0..16 scaled to 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    greys = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    items = tuple(Item(f"{i:04d}", int(label)) for i, label in enumerate(bunch.target))
    classes = tuple(str(digit) for digit in range(10))
    return Listing(items, classes, DigitReader(greys), tuple(g.tobytes().hex() for g in greys))


@dataclass(frozen=True)
class Scene:
    """What one image of shapes shows. Angles in radians, lengths in pixels."""

    count: int  # label of the count task: small shapes less one
    position: int  # cell of the marker, row by row
    orientation: int  # eighth of a turn into which the marker points, 0 to the right, clockwise
    angle: float
    seed: tuple[int, int]  # of everything that no label tells


@dataclass(frozen=True)
class SceneReader:
    """Draws the scene of a name when it is read; nothing is kept."""

    seed: int

    def __call__(self, name: str) -> bytes:
        return as_file(draw(scene(self.seed, int(name))))


def shapes(task: str, *, seed: int = 0, count: int = _SHAPES) -> Listing:
    """Drawn shapes of 64 x 64 with the labels of one task: `count`, `position`, `orientation`.

    count: 1 to 6 small shapes beside the marker; position: the cell of the marker, a large long
    triangle, in a 4 x 4 grid; orientation: the eighth of a turn into which it points.
    """
    if task not in TASKS:
        raise unknown_name("task of the shapes", task, TASKS)
    labels = [getattr(scene(seed, i), task) for i in range(count)]
    items = tuple(Item(f"{i:05d}", label) for i, label in enumerate(labels))
    # The number rises with every change of what is drawn.
    stamps = tuple(f"shapes 1, seed {seed}" for _ in items)
    return Listing(items, TASKS[task], SceneReader(seed), stamps)


def scene(seed: int, index: int) -> Scene:
    """The labels of one image, drawn independently and uniformly."""
    random = np.random.default_rng([seed, index])
    count, position, orientation = (int(random.integers(n)) for n in (6, 16, 8))
    angle = (orientation + random.uniform(-1, 1) / 3) * math.pi / 4
    return Scene(count, position, orientation, angle, (seed, index))


def draw(what: Scene) -> np.ndarray:
    """The image of a scene, (64, 64, 3) uint8: noisy gradient, marker, small shapes apart."""
    random = np.random.default_rng([*what.seed, 1])
    start, end = random.uniform(0, 255, (2, 3))
    turn = random.uniform(0, 2 * math.pi)
    y, x = np.ogrid[:SIDE, :SIDE]
    along = ((x - 31.5) * math.cos(turn) + (y - 31.5) * math.sin(turn)) / 90 + 0.5
    # Colours first: numpy is slow where the innermost axis has three elements.
    canvas = start[:, None, None] + (end - start)[:, None, None] * along
    canvas += 12 * random.standard_normal((SIDE, SIDE))

    row, column = divmod(what.position, 4)
    tips = [(10.0, 0.0), (9.0, 2.5), (9.0, -2.5)]  # radius and angle of the corners
    marker = [(r * math.cos(what.angle + a), r * math.sin(what.angle + a)) for r, a in tips]
    _paint(canvas, (_GRID[column], _GRID[row]), marker, 0.0, random)

    # The marker reaches into its four neighbours, so small shapes keep off them.
    free = [(i, j) for i in range(4) for j in range(4) if abs(i - row) + abs(j - column) > 1]
    for place in random.permutation(len(free))[: what.count + 1]:
        i, j = free[place]
        middle = (_GRID[j] + random.uniform(-2, 2), _GRID[i] + random.uniform(-2, 2))
        radius, turn = random.uniform(3, 5), random.uniform(0, 2 * math.pi)
        sides = _SIDES[random.integers(len(_SIDES))]
        angles = [turn + 2 * math.pi * k / sides for k in range(sides)]
        corners = [(radius * math.cos(a), radius * math.sin(a)) for a in angles]
        _paint(canvas, middle, corners, radius, random)
    pixels: np.ndarray = np.clip(canvas + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return pixels


def _paint(
    canvas: np.ndarray,
    centre: tuple[float, float],
    corners: list[tuple[float, float]],
    radius: float,
    random: np.random.Generator,
) -> None:
    """Lay a colour, far enough from what is below to be seen, over a shape with smooth edges.

    A convex polygon whose corners, relative to the centre, turn clockwise; or, if it has none, a
    disc. The edge is the signed distance to it, half a pixel either side.
    """
    left, top = (max(0, int(c) - _REACH) for c in centre)
    window = canvas[:, top : int(centre[1]) + _REACH, left : int(centre[0]) + _REACH]
    x = np.arange(window.shape[2]) + (left - centre[0])
    y = np.arange(window.shape[1])[:, None] + (top - centre[1])
    outside = np.hypot(x, y) - radius if not corners else np.full(window.shape[1:], -np.inf)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = math.hypot(x1 - x0, y1 - y0)
        outside = np.maximum(outside, ((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length)
    cover = np.clip(0.5 - outside, 0, 1)

    below = (window * cover).sum((1, 2)) / cover.sum()
    colours = random.uniform(0, 255, (8, 3))
    colour = colours[np.argmax(np.abs(colours - below).sum(1))]
    window += (colour[:, None, None] - window) * cover
