"""Training on images while they are still being decoded, for sets of ImageNet's size.

    <cache>/streams/<request>/pixels.raw   rows of (size, size, 3) uint8 in the listing's order
    <cache>/streams/<request>/state.raw    a byte a row: 0 not decoded yet, 1 decoded
    <cache>/streams/<request>/marks.raw    48 bytes a row: hash of its pixels, key, hash of its file

What `state.raw` calls decoded has reached the disk; until then only this process knows of it. A row
is hashed when this process first gives it out, and decoded again where its hash is another.

Rows that are asked for are decoded first; between, the decoders go on in the order in which rows
are expected, into the file and not into memory, so nothing piles up when training is slower. What
is decoded stays: a second epoch, or another run, reads no image file again.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.pictures.intensity import HEADER, Span, measure
from foldtune.data.pictures.opening import strict
from foldtune.data.sources.listing import Listing
from foldtune.data.store.crew import BROKEN, Crew, Rows
from foldtune.data.store.decode import Fit, read_image
from foldtune.errors import InputError
from foldtune.files import HASH
from foldtune.processes import cores

_NO_RANGE = (
    "more than 8 bits, of which a part is used: a stream does not know the set's range; give "
    "--range LOW HIGH, or go without --stream"
)
_TRIES = 3  # at a row that is decoded again


@dataclass(frozen=True)
class ScatterJob:
    """Where images come from, how they are fitted, and the file that takes them at any row."""

    open: Callable[[str], bytes]
    fit: Fit
    file: Path

    def rows(self, rows: Sequence[int], names: Sequence[str]) -> list[bytes | str]:
        """Decode images into their rows; each one's line of marks, or why it is broken."""
        told: list[bytes | str] = []
        with self.file.open("r+b") as file, strict(self.fit.max_pixels):
            for row, name in zip(rows, names, strict=True):
                image = read_image(self.open, name, self.fit)
                if isinstance(image, str) or _needs_range(image.span, self.fit):
                    told.append(image if isinstance(image, str) else _NO_RANGE)
                    continue
                file.seek(row * self.fit.row_bytes)
                file.write(np.ascontiguousarray(image.pixels).data)
                told.append(bytes.fromhex(image.hash + image.mark))
        return told


def _needs_range(span: Span | None, fit: Fit) -> bool:
    """Whether an image of more than 8 bits needs the set's range, which no stream knows."""
    if span is None or fit.range == HEADER:
        return False
    measured = measure([span], fit.range)
    return measured is not None and measured.taken is not None and isinstance(fit.range, str)


class StreamedPixels:
    """Pixels that look like an array (images, size, size, 3) and are decoded when asked for.

    `pixels[rows]` waits for these rows only. `expect(rows)` says in which order rows will be asked
    for. order: of each row the listing's item; None: as listed. Raises InputError, by name, for an
    image that cannot be decoded.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        listing: Listing,
        fit: Fit,
        folder: Path,
        workers: int | None,
        order: np.ndarray | None = None,
    ) -> None:
        self._order = np.arange(len(listing.items)) if order is None else order
        self.shape: tuple[int, ...] = (len(self._order), *fit.shape)
        self._names = [item.name for item in listing.items]
        rows = Rows(folder, (len(listing.items), *fit.shape))
        with contextlib.suppress(OSError):
            os.utime(folder / "state.raw")  # when it was used last, for `data cache --limit`
        job = ScatterJob(listing.open, fit, folder / "pixels.raw")
        self._rows, self._crew = rows, Crew(job, self._names, rows, workers or cores())
        weakref.finalize(self, self._crew.stop)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape))

    def count_decoded(self) -> int:
        """How many images of the listing are decoded, or known to be broken."""
        return int(np.count_nonzero(self._rows.state))

    def expect(self, rows: np.ndarray) -> None:
        """Decode in this order from now on, where nobody waits."""
        self._crew.expect(self._order[np.asarray(rows)])

    def __getitem__(self, rows: Any) -> np.ndarray:
        wanted = self._order[rows]
        self._ready(np.atleast_1d(wanted))
        pixels: np.ndarray = self._rows.pixels[wanted]
        return pixels

    def keys(self, rows: Any) -> np.ndarray:
        """(rows, 32) uint8: keys and files' hashes, as soon as these rows are decoded."""
        wanted = self._order[rows]
        self._ready(np.atleast_1d(wanted))
        return np.array(self._rows.marks[wanted][..., HASH:])

    def reorder(self, order: np.ndarray) -> StreamedPixels:
        """The same stream with other rows: order: of each row the listing's item."""
        self._order, self.shape = order, (len(order), *self.shape[1:])
        return self

    def close(self) -> None:
        """Stop decoding; what is decoded stays."""
        self._crew.stop()

    def _ready(self, places: np.ndarray) -> None:
        """Wait for the listing's items at these places, and hash those that are new here."""
        for _ in range(_TRIES):
            self._crew.wait(places[self._rows.state[places] == 0])
            self._refuse_broken(places)
            if not self._rows.doubtful(places):
                return
        name = self._names[int(places[0])]
        raise InputError(
            f"the decoded pixels of {name} or of one beside it are others as soon as they are "
            f"written to {self._rows.folder}; look after that disk, or give another folder (cache)"
        )

    def _refuse_broken(self, places: np.ndarray) -> None:
        bad = places[self._rows.state[places] == BROKEN]
        if len(bad):
            name = self._names[int(bad[0])]
            why = self._crew.why.get(int(bad[0]), "broken when it was first read")
            raise InputError(
                f"{name} cannot be read ({why}); repair or remove it: a streamed set cannot leave "
                "images out, since nobody knows them before they are read"
            )


class StreamedKeys:
    """The keys of streamed images, which look like an array (images, 32)."""

    def __init__(self, pixels: StreamedPixels) -> None:
        self._pixels = pixels
        self.shape = (len(pixels), 2 * HASH)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._pixels.keys(rows)


def stream_folder(cache: Path, request: str) -> Path:
    """Where the decoded rows of a listing lie."""
    return cache / "streams" / request
