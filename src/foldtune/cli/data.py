"""Verbs about data: data sets, check, card, decode, convert, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App

from foldtune.cli.app import DATA, JSON, MAIN, app, words
from foldtune.cli.places import FOLDER_OUT, PICTURE_OUT, SEED_CHECK
from foldtune.cli.shown.cards import show_card, show_check
from foldtune.console import emit, facts, table
from foldtune.options.taken import words as said_of

_SAID = said_of()["DataOptions"]
SIZE = Annotated[int, words("Side in pixels at which images are decoded.", group=MAIN)]
RESIZE = Annotated[str, words("squash (to the square) or crop (the centre).")]
SEED = Annotated[int, SEED_CHECK, words("Draws the splits that are not given.")]
CACHE = Annotated[Path | None, words(_SAID["cache"])]
BROKEN = Annotated[bool, words(_SAID["skip_broken"])]
CONFLICTS = Annotated[str, words(_SAID["conflicts"])]
RANGE = Annotated[tuple[str, ...], words(_SAID["range"])]
PIXELS = Annotated[int | None, words(_SAID["max_pixels"])]
WORKERS = Annotated[int | None, words("Processes that decode; by default one a core.")]
data = App(name="data", help="Look at data, check it, decode it, convert it.")
app.command(data)


@data.command
def sets(*, json: JSON = False) -> None:
    """Show the data sets that are known by name, and how each is written."""
    from foldtune.data.sources.sets import SETS

    rows = [
        {"set": name, "write": found.example, "what": found.about, "options": found.options}
        for name, found in SETS.items()
    ]
    emit(rows) if json else table(rows, ("set", "write", "what"))


@data.command
def check(
    name: Annotated[str, words("A set's name, or a path.", group=MAIN)],
    root: Annotated[Path | None, words("The folder below which the set is.", group=MAIN)] = None,
    *,
    json: JSON = False,
) -> None:
    """Tell what is present of a set NAME (vtab, cub, imagenet-c:fog, ...) below ROOT.

    Per part: counts, labels, sizes, formats, whether lossless, and a hash of the lists. Without
    ROOT, NAME is a path. Nothing is decoded. The exit code is 1 where nothing can be read, and 2
    where a whole class or split is not there.
    """
    import sys

    from foldtune.data.sources.ledger import refuse_empty
    from foldtune.data.sources.source import read_source
    from foldtune.data.sources.spec import parse_spec
    from foldtune.data.tools.check import check as checked
    from foldtune.data.tools.check import describe, refuse_absent

    spec = parse_spec(f"{name}@{root}") if root is not None else None
    found = read_source(name) if spec is None else None
    rows = checked(spec) if spec else []
    if found is not None:
        rows = [{"part": name, **describe(found)}]
    if json:
        emit(rows)
    else:
        show_check(rows)
    if found is not None:
        refuse_absent(found)
        refuse_empty(found.ledger)
    if all("problem" in row for row in rows):
        sys.exit(1)


@data.command
def card(
    source: DATA,
    *,
    size: SIZE = 64,
    resize: RESIZE = "squash",
    seed: SEED = 0,
    examples: Annotated[
        PICTURE_OUT | None, words("A file for a picture of some images of each class.", group=MAIN)
    ] = None,
    cache: CACHE = None,
    skip_broken: BROKEN = False,
    conflicts: CONFLICTS = "keep",
    range: RANGE = (),
    max_pixels: PIXELS = None,
    json: JSON = False,
) -> None:
    """Describe SOURCE: counts, class balance, colours, near duplicates, identity."""
    from foldtune.data import load_data
    from foldtune.data.pictures.intensity import parse_setting
    from foldtune.data.pictures.opening import MAX_PIXELS
    from foldtune.data.tools.card import data_card, draw_examples

    loaded = load_data(
        source, size=size, resize=resize, seed=seed, cache=cache, skip_broken=skip_broken,
        conflicts=conflicts, range=parse_setting(range), max_pixels=max_pixels or MAX_PIXELS,
    )  # fmt: skip
    told = data_card(loaded)
    if examples is not None:
        draw_examples(loaded, examples)
        told["examples"] = str(examples)
    emit(told) if json else show_card(told)


@data.command
def decode(
    source: DATA,
    *,
    size: SIZE = 224,
    resize: RESIZE = "squash",
    workers: WORKERS = None,
    cache: CACHE = None,
    skip_broken: BROKEN = False,
    conflicts: CONFLICTS = "keep",
    range: RANGE = (),
    max_pixels: PIXELS = None,
    json: JSON = False,
) -> None:
    """List, decode and identify SOURCE, so that later runs read no image file.

    Prints the time and the peak memory. Images go to disk as they are decoded, so memory does not
    grow with their number; a call that was killed is taken up where it was by the next one.
    """
    import time

    from foldtune.data import load_data
    from foldtune.data.pictures.intensity import parse_setting
    from foldtune.data.pictures.opening import MAX_PIXELS

    begun = time.perf_counter()
    loaded = load_data(
        source, size=size, resize=resize, workers=workers, cache=cache, skip_broken=skip_broken,
        conflicts=conflicts, range=parse_setting(range), max_pixels=max_pixels or MAX_PIXELS,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    told = {
        "images": len(loaded.labels),
        "classes": len(loaded.classes),
        "counts": loaded.facts["counts"],
        "identity": loaded.identity,
        "seconds": round(seconds, 2),
        "images_per_second": round(len(loaded.labels) / seconds, 1),
        **_peak_mib(),
        "store_mib": round(loaded.pixels.nbytes / 2**20),
        "ledger": loaded.facts["ledger"],
        "warnings": loaded.facts["warnings"],
    }
    emit(told) if json else facts(told)


def _peak_mib() -> dict[str, int]:
    """The most memory that this process and its largest worker held; not told on Windows."""
    try:
        import resource
    except ImportError:
        return {}
    import sys

    # macOS counts bytes, Linux kibibytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    who = {"peak_mib": resource.RUSAGE_SELF, "peak_mib_of_a_worker": resource.RUSAGE_CHILDREN}
    return {name: round(resource.getrusage(w).ru_maxrss / unit) for name, w in who.items()}


@data.command
def convert(
    source: DATA,
    out: Annotated[FOLDER_OUT, words("The folder to write.", group=MAIN)],
    *,
    workers: WORKERS = None,
    json: JSON = False,
) -> None:
    """Write SOURCE as lossless PNG files into the folder OUT, with labels, splits and groups.

    OUT is then read like any folder, and its identity is the source's at every size. A call that
    was stopped goes on where it was.
    """
    from foldtune.data.tools.convert import convert as run

    told = run(source, out, workers=workers)
    emit(told) if json else facts(told)


@data.command(name="cache")
def show_cache(
    *,
    limit: Annotated[str | None, words("Remove the least recently used beyond: 20g.")] = None,
    verify: Annotated[
        bool,
        words(
            "Hash every decoded image; the exit code is 1 where one is damaged. It is decoded "
            "again when it is next used."
        ),
    ] = False,
    cache: CACHE = None,
    json: JSON = False,
) -> None:
    """Show the cache of decoded images; with --limit 20g remove the least recently used beyond."""
    import sys
    from datetime import datetime

    from foldtune.data.store.cachesize import contents, parse_size, shrink
    from foldtune.data.store.cachesize import verify as verified
    from foldtune.data.store.stored import default_cache

    folder = default_cache() if cache is None else cache.expanduser()
    if verify:
        found = verified(folder)
        shown = ("kind", "images", "damaged", "rows", "folder")
        emit(found) if json else table(found, shown, str(folder))
        sys.exit(1 if any(one["damaged"] for one in found) else 0)
    if limit is not None:
        told = shrink(folder, parse_size(limit))
        emit(told) if json else facts(told)
        return
    rows = [
        {
            "kind": one.kind, "images": one.images, "mib": round(one.bytes / 2**20, 1),
            "used": datetime.fromtimestamp(one.used).isoformat(" ", "seconds"),
            "folder": str(one.folder),
        }
        for one in contents(folder)
    ]  # fmt: skip
    emit(rows) if json else table(rows, ("kind", "images", "mib", "used", "folder"), str(folder))
