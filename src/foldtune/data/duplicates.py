"""Near duplicates: pictures that are the same but for scale, compression or slight retouching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Rows = Sequence[int] | np.ndarray
_ROWS, _COLUMNS = 8, 9
_BITS = 3  # of 64 that may differ
_CHUNK = 256  # judged images whose distances are held at a time
_APART = 8.0  # mean difference of thumbnails, of 255, up to which two pictures are the same
_THUMB = 16


def difference_hash(pixels: np.ndarray) -> int:
    """64 bits: of 8 rows of 9 mean greys, which is darker than its right neighbour (dHash).

    pixels: (height, width, 3) uint8. Means of blocks, so scale and compression hardly change it.
    """
    small = _means(pixels[:, :, 1].astype(np.float32), _ROWS, _COLUMNS)
    # The green channel stands for the grey: it is 59 % of it, and needs no sum over channels.
    bits = small[:, 1:] > small[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _means(grey: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means of rows x columns blocks; an image smaller than that is repeated first."""
    height, width = grey.shape
    grey = grey.repeat(-(-rows // height), axis=0).repeat(-(-columns // width), axis=1)
    starts = [np.arange(n) * side // n for n, side in zip((rows, columns), grey.shape, strict=True)]
    sums = np.add.reduceat(np.add.reduceat(grey, starts[0], axis=0), starts[1], axis=1)
    spans = [np.diff(s, append=side) for s, side in zip(starts, grey.shape, strict=True)]
    return sums / (spans[0][:, None] * spans[1][None, :])


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


def _same(pixels: np.ndarray, one: int, other: int) -> bool:
    thumbs = [
        np.stack(
            [_means(pixels[row, :, :, c].astype(np.float32), _THUMB, _THUMB) for c in range(3)]
        )
        for row in (one, other)
    ]
    return float(np.abs(thumbs[0] - thumbs[1]).mean()) <= _APART
