"""Lossless conversion of any source to PNG files and a table, restartable.

OUT/images/0000/000000.png ...     every image upright at its own size, its samples as stored; as
                                   .tif where PNG has no such samples (CMYK, 32 bits)
OUT/foldtune.csv                   path, label, split, group; written last
OUT/foldtune.classes.txt           the classes in order
"""

from __future__ import annotations

import csv
import io
import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foldtune.data.pictures.bands import is_array
from foldtune.data.pictures.deep import is_deep
from foldtune.data.pictures.foreign import kind_of
from foldtune.data.pictures.opening import strict
from foldtune.data.pictures.read import read_picture
from foldtune.data.pictures.upright import to_rgb, upright
from foldtune.data.sources.listing import Listing
from foldtune.data.sources.paths import CONVERTED
from foldtune.data.sources.source import read_source
from foldtune.errors import InputError
from foldtune.files import digest, read_json, replacing, write_json
from foldtune.processes import cores

_STATE = "conversion.json"
_PNG = ("L", "LA", "RGB", "RGBA")
_TIFF = ("CMYK", "I", "F")
_LEVEL = 4  # of zlib: half the time of the usual 6 for 2 % more bytes


def convert(source: str | Path, out: Path, *, workers: int | None = None) -> dict[str, Any]:
    """Write a source into a folder; images that an earlier, stopped call wrote are kept.

    Each picture is turned upright and keeps its samples, so its key is the source's, and at every
    size the identity. Raises InputError where the folder holds another source's conversion or other
    files, and where images cannot be read, all by name.
    """
    listing = read_source(source)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, listing)
    stems = [f"images/{row // 1000:04d}/{row:06d}" for row in range(len(listing.items))]
    for folder in {Path(stem).parent for stem in stems}:
        (out / folder).mkdir(parents=True, exist_ok=True)
    todo = [row for row, stem in enumerate(stems) if _written_name(out, stem) is None]
    jobs = ((listing, listing.items[row].name, out / stems[row]) for row in todo)
    with strict():
        broken = [found for found in _in_threads(jobs, workers or cores()) if found]
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise InputError(
            f"{len(broken)} of {len(stems)} images cannot be read: {', '.join(broken[:5])}{more}; "
            "repair or remove them, then convert again: finished images are kept"
        )
    names = [name for stem in stems if (name := _written_name(out, stem)) is not None]
    _write_table(out, listing, names)
    return {
        "images": len(names), "written": len(todo), "kept": len(names) - len(todo),
        "out": str(out), "bytes": sum((out / name).stat().st_size for name in names),
    }  # fmt: skip


def _claim(out: Path, listing: Listing) -> None:
    """Note whose conversion the folder is; refuse a folder that is somebody else's."""
    items = [part for i in listing.items for part in (i.name, i.label, i.split or "")]
    request = digest(["convert 1", listing.origin, *listing.classes, *items, *listing.stamps])
    state = read_json(out / _STATE)
    if state is None:
        if any(out.iterdir()):
            raise InputError(f"{out} is not empty; give a new folder")
        with replacing(out / _STATE) as fresh:
            write_json(fresh, {"request": request})
    elif state["request"] != request:
        raise InputError(
            f"{out} holds the conversion of another source, or the source has changed since; give "
            "a new folder"
        )


def _in_threads(jobs: Iterable[tuple[Listing, str, Path]], workers: int) -> Iterator[str | None]:
    """Why an image is broken, or None, for each; a few images at a time are held in memory.

    Threads serve: writing a PNG is nearly all zlib, which lets others run.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[str | None]] = deque()
        for job in jobs:
            waiting.append(pool.submit(_write, *job))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _written_name(out: Path, stem: str) -> str | None:
    """The name of the file that a picture was written to, or None."""
    names = (stem + suffix for suffix in (".png", ".tif"))
    return next((name for name in names if (out / name).exists()), None)


def _write(listing: Listing, name: str, path: Path) -> str | None:
    try:
        data = listing.open(name)
        if is_array(data) or (is_deep(data) and read_picture(data).fine):
            return f"{name} (more than 8 bits a colour, or other channels, which PNG does not keep)"
        image = upright(data) if kind_of(data) is None else _of_foreign(data)
    except Exception as error:  # damaged files raise nearly every type there is
        return f"{name} ({' '.join(str(error).split())[:80] or type(error).__name__})"
    file = io.BytesIO()
    image.info = {}  # colour profiles and the like: nothing of them is read
    if image.mode in _TIFF:
        image.save(file, "TIFF", compression="tiff_deflate")
    else:
        image = image if image.mode in _PNG or image.mode.startswith("I;16") else to_rgb(image)
        image.save(file, "PNG", compress_level=_LEVEL)
    with replacing(path.with_suffix(".tif" if image.mode in _TIFF else ".png")) as fresh:
        fresh.write_bytes(file.getvalue())
    return None


def _of_foreign(data: bytes) -> Image.Image:
    """A HEIC, JPEG XL or DICOM as a picture that PNG keeps: of 8 bits, or of 16 in one channel."""
    read = read_picture(data)
    if read.image is not None:
        return read.image
    if read.samples.dtype != np.uint16 or read.samples.size != math.prod(read.samples.shape[:2]):
        raise InputError("more than 8 bits a colour, or other numbers, which PNG does not keep")
    return Image.fromarray(read.samples.reshape(read.samples.shape[:2]))


def _write_table(out: Path, listing: Listing, names: list[str]) -> None:
    bad = next((name for name in listing.classes if "\n" in name or name != name.strip()), None)
    if bad is not None:
        raise InputError(f"class {bad!r} cannot be written in a line; rename it")
    (out / CONVERTED).with_suffix(".classes.txt").write_text(
        "".join(f"{name}\n" for name in listing.classes), encoding="utf-8"
    )
    groups = listing.groups or ("",) * len(names)
    with (
        replacing(out / CONVERTED) as fresh,
        fresh.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        for name, item, group in zip(names, listing.items, groups, strict=True):
            writer.writerow([name, listing.classes[item.label], item.split or "", group])
