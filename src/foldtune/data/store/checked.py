"""Decoded pixels that are hashed once before this process uses them."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.identity import image_hash
from foldtune.data.sources.find import find_listing
from foldtune.data.store.decode import Fit, decode
from foldtune.errors import InputError

Again = Callable[[int], np.ndarray]


class CheckedPixels:
    """The pixels of an entry, which look like its array (images, size, size, channels).

    Each row is hashed when this process first asks for it; later it costs nothing. A damaged row is
    decoded again from its source, in the store too, where that can be written. hashes: of each row;
    names: of each, for errors; again: decodes one anew, None where the source is not known. Raises
    InputError, by name, for a damaged row that cannot be had again.
    """

    ndim = 4

    def __init__(
        self,
        pixels: np.memmap,
        hashes: Sequence[str],
        names: Sequence[str] = (),
        again: Again | None = None,
    ) -> None:
        self._pixels, self.hashes, self._names, self._again = pixels, hashes, names, again
        self._known = np.zeros(len(pixels), bool)
        self._mended: dict[int, np.ndarray] = {}  # rows that the store could not take
        self.shape, self.nbytes, self.size = pixels.shape, pixels.nbytes, pixels.size
        self.filename, self.dtype = pixels.filename, pixels.dtype

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def bare(self) -> np.memmap:
        """The file's rows, unchecked: to measure what checking costs."""
        return self._pixels

    def __getitem__(self, index: Any) -> np.ndarray:
        first = index[0] if isinstance(index, tuple) else index
        rows = np.atleast_1d(np.arange(len(self))[first])
        self.check(rows)
        if self._mended and (mended := [r for r in set(rows.tolist()) if r in self._mended]):
            return self._with_mended(index, mended)
        pixels: np.ndarray = self._pixels[index]
        return pixels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self[:]
        return np.array(found, dtype, copy=copy) if dtype or copy else np.asarray(found)

    def check(self, rows: np.ndarray) -> None:
        """Hash those of these rows that this process has not hashed yet."""
        for row in rows[~self._known[rows]].tolist():
            if image_hash(self._pixels[row]) != self.hashes[row]:
                self._mend(row)
            self._known[row] = True

    def _mend(self, row: int) -> None:
        name = self._names[row] if self._names else f"image {row}"
        where = f"the decoded pixels of {name} in {Path(str(self.filename)).parent} are damaged"
        try:
            pixels = None if self._again is None else self._again(row)
        except Exception as error:  # a source that is gone or damaged raises what it will
            raise _loss_error(where, f"its source cannot be read ({error})") from error
        if pixels is None:
            raise _loss_error(where, "its source is not known here")
        if image_hash(pixels) != self.hashes[row]:
            raise _loss_error(where, "its source gives other pixels now")
        with contextlib.suppress(OSError):  # a store that others keep may be read-only
            self._write(row, pixels)
        if image_hash(self._pixels[row]) != self.hashes[row]:
            self._mended[row] = pixels
        warnings.warn(f"{where}; decoded again from its source", RuntimeWarning, stacklevel=2)

    def _write(self, row: int, pixels: np.ndarray) -> None:
        with open(str(self.filename), "r+b") as file:
            file.seek(row * pixels.nbytes)
            file.write(np.ascontiguousarray(pixels).data)
            file.flush()
            os.fsync(file.fileno())

    def _with_mended(self, index: Any, mended: Sequence[int]) -> np.ndarray:
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        wanted = np.arange(len(self))[first]
        found = np.array(self._pixels[wanted])
        for row in mended:
            found[wanted == row] = self._mended[row]
        return found[(slice(None), *rest)] if wanted.ndim else found[rest]


@dataclass(frozen=True)
class DecodeAgain:
    """Decodes a row of data anew, from the source that `spec` names; names: of each row."""

    spec: str | Path
    fit: Fit
    names: Sequence[str]

    def __call__(self, row: int) -> np.ndarray:
        return decode(find_listing(self.spec).open(self.names[row]), self.fit)


def _loss_error(where: str, why: str) -> InputError:
    return InputError(
        f"{where}, and {why}; bring the source back, or remove that folder and decode the images "
        "anew (foldtune data cache --verify lists what is damaged)"
    )
