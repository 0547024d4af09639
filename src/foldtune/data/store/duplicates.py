"""Near duplicates: pictures that are the same but for scale, compression or slight retouching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foldtune.data.pictures.intensity import WHITE

Rows = Sequence[int] | np.ndarray
_ROWS, _COLUMNS = 8, 9
_BITS = 3  # of 64 that may differ
_CHUNK = 256  # judged images whose distances are held at a time
_APART = 8.0  # mean difference of thumbnails, of 255, up to which two pictures are the same
_THUMB = 16
_TRIED = 8  # nearest pictures that are compared: flat ones agree in their hash
_BLOCK = 1 << 18  # pixels whose greys are summed at a time: they fit a core's cache


def difference_hashes(pixels: np.ndarray) -> list[int]:
    """Of each image 64 bits: of 8 rows of 9 mean greys, which is darker than its right one (dHash).

    pixels: (images, height, width, channels), of any depth. Means of blocks, so scale and
    compression hardly change it.
    """
    count, height, width = pixels.shape[:3]
    step = max(1, _BLOCK // (height * width))
    found: list[int] = []
    for at in range(0, count, step):
        # The green channel stands for the grey: it is 59 % of it, and needs no sum over channels.
        green = min(1, pixels.shape[3] - 1)
        small = _means(pixels[at : at + step, :, :, green].astype(np.float32), _ROWS, _COLUMNS)
        bits = (small[:, :, 1:] > small[:, :, :-1]).reshape(len(small), -1)
        found += np.packbits(bits, axis=1).view(">u8")[:, 0].tolist()
    return found


def _means(grey: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means of rows x columns blocks of each image; one smaller than that is repeated first."""
    height, width = grey.shape[1:]
    if height < rows or width < columns:
        grey = grey.repeat(-(-rows // height), axis=1).repeat(-(-columns // width), axis=2)
        height, width = grey.shape[1:]
    tops, lefts = np.arange(rows) * height // rows, np.arange(columns) * width // columns
    sums = np.add.reduceat(np.add.reduceat(grey, tops, axis=1), lefts, axis=2)
    means: np.ndarray = sums / (
        np.diff(tops, append=height)[:, None] * np.diff(lefts, append=width)
    )
    return means


def near_duplicates(
    pixels: np.ndarray, prints: np.ndarray, train: Rows, judged: Rows
) -> list[tuple[int, int]]:
    """Pairs (row of judged, row of train) that show the same picture, at most one per judged row.

    prints: difference hashes of all rows, uint64. Of the training images the one with the nearest
    hash is taken, if at most 3 of 64 bits differ, and then both pictures are compared at 16 x 16:
    flat images agree in their hash without being the same.
    """
    if not len(train) or not len(judged):
        return []
    ours, theirs = np.asarray(train, np.int64), np.asarray(judged, np.int64)
    known = prints[ours]
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(theirs), _CHUNK):
        rows = theirs[start : start + _CHUNK]
        apart = np.bitwise_count(prints[rows][:, None] ^ known[None, :])
        nearest = apart.argmin(1)
        close = apart[np.arange(len(rows)), nearest] <= _BITS
        found = zip(rows[close].tolist(), ours[nearest[close]].tolist(), strict=True)
        pairs += [(row, twin) for row, twin in found if _same(pixels, row, twin)]
    return pairs


def alike(pixels: np.ndarray, rows: Rows) -> list[list[int]]:
    """The rows of which two or more show the same picture, the first of each list leading it.

    Each image joins the earlier leader whose picture it shows (as `near_duplicates` tells), so that
    a chain of small changes does not become one picture.
    """
    ours = np.asarray(rows, np.int64)
    spans = [ours[at : at + _CHUNK] for at in range(0, len(ours), _CHUNK)]
    prints = np.array([one for span in spans for one in difference_hashes(pixels[span])], np.uint64)
    leads = np.ones(len(ours), bool)
    found: dict[int, list[int]] = {}
    for at in range(0, len(ours), _CHUNK):
        stop = min(at + _CHUNK, len(ours))
        apart = np.bitwise_count(prints[at:stop, None] ^ prints[None, :stop])
        for here, distances in enumerate(apart, at):
            near = np.flatnonzero((distances[:here] <= _BITS) & leads[:here])
            near = near[np.argsort(distances[near], kind="stable")][:_TRIED]
            row = int(ours[here])
            lead = next((int(ours[k]) for k in near if _same(pixels, row, int(ours[k]))), None)
            if lead is not None:
                leads[here] = False
                found.setdefault(lead, [lead]).append(row)
    return list(found.values())


def _same(pixels: np.ndarray, one: int, other: int) -> bool:
    thumbs = [
        _means(pixels[row].transpose(2, 0, 1).astype(np.float32), _THUMB, _THUMB)
        for row in (one, other)
    ]
    apart = np.abs(thumbs[0] - thumbs[1]).mean() * (255 / WHITE[pixels.dtype.name])
    return float(apart) <= _APART
