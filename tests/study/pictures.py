"""Small sets whose labels are several, graded or numbers, as tables beside their pictures."""

import csv

import numpy as np
from PIL import Image

COLOURS = {"red": (230, 30, 30), "green": (30, 220, 40), "blue": (40, 60, 240)}
SIDE = 16


def write_set(folder, kind, images=60, seed=0):
    """`folder/labels.csv`: "several" colours an image, the "grade" 0 to 3 of how many squares there
    are, or the "number" of how far a bar reaches, 0 to 1."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(images):
        pixels = draw.integers(60, 120, (SIDE, SIDE, 3)).astype(np.uint8)
        place = [(x, y) for x in (1, 9) for y in (1, 9)]
        if kind == "several":
            held = [name for name in COLOURS if draw.random() < 0.4]
            label = "|".join(held)
        elif kind == "grade":
            held = ["red"] * int(draw.integers(0, 4))
            label = str(len(held))
        else:
            where = draw.random()
            held, label = [], f"{where:.4f}"
            pixels[:, : int(where * SIDE)] = COLOURS["blue"]
        for name, (x, y) in zip(held, place, strict=False):
            pixels[y : y + 6, x : x + 6] = COLOURS[name]
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append((f"{number}.png", label))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return folder / "labels.csv"
