"""Verbs about data: data sets, check, card, decode, convert, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from foldtune.cli.app import JSON, app
from foldtune.cli.places import FOLDER_OUT, LIST_OUT, PICTURE_OUT, SEED
from foldtune.console import emit, facts, say, table

#: LOW HIGH, own, percentile or header: how samples of more than 8 bits are read.
RANGE = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]
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
def check(name: str, root: Path | None = None, *, json: JSON = False) -> None:
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
        first = ("part", "group") if any("group" in row for row in rows) else ("part",)
        shown = (*first, "counts", "classes", "labels", "sizes", "formats", "lossless", "manifest")
        table(
            [{**row, "manifest": row["manifest"][:12]} for row in rows if "manifest" in row], shown
        )
        for row in rows:
            for line in [*row.get("warnings", ()), *filter(None, [row.get("problem")])]:
                say(line)
    if found is not None:
        refuse_absent(found)
        refuse_empty(found.ledger)
    if all("problem" in row for row in rows):
        sys.exit(1)


@data.command
def card(
    source: str,
    *,
    size: int = 64,
    resize: str = "squash",
    seed: SEED = 0,
    examples: PICTURE_OUT | None = None,
    cache: Path | None = None,
    skip_broken: bool = False,
    conflicts: str = "keep",
    range: RANGE = (),
    max_pixels: int | None = None,
    json: JSON = False,
) -> None:
    """Describe SOURCE: counts, class balance, colours, near duplicates, identity.

    examples: a file that gets a picture of some images of each class.
    """
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
    emit(told) if json else facts(told)


@data.command
def decode(
    source: str,
    *,
    size: int = 224,
    resize: str = "squash",
    workers: int | None = None,
    cache: Path | None = None,
    skip_broken: bool = False,
    conflicts: str = "keep",
    range: RANGE = (),
    max_pixels: int | None = None,
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
def doubts(
    source: str,
    out: LIST_OUT,
    *,
    model: str = "micro",
    size: int | None = None,
    seed: SEED = 0,
    cache: Path | None = None,
    json: JSON = False,
) -> None:
    """Write images of SOURCE whose label seems wrong to the CSV OUT, most doubtful first.

    Each is judged by a linear probe on MODEL's frozen features that was solved without it.
    """
    from foldtune.backbones import load_backbone
    from foldtune.data import load_data
    from foldtune.startup import import_hosts
    from foldtune.study.doubts import doubts as found
    from foldtune.study.doubts import write_doubts

    import_hosts()
    backbone = load_backbone(model, size=size)
    images = load_data(source, size=backbone.transform.size, seed=seed, cache=cache)
    rows = found(images, backbone, seed)
    write_doubts(rows, out)
    if json:
        emit(rows)
        return
    table(rows[:20], ("image", "split", "label", "seems", "label_probability", "seems_probability"))
    facts({"doubtful": len(rows), "images": len(images.labels), "out": str(out)})


@data.command
def convert(
    source: str, out: FOLDER_OUT, *, workers: int | None = None, json: JSON = False
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
    limit: str | None = None,
    verify: bool = False,
    cache: Path | None = None,
    json: JSON = False,
) -> None:
    """Show the cache of decoded images; with --limit 20g remove the least recently used beyond.

    verify: hash every decoded image; the exit code is 1 where one is damaged. It is decoded again
    when it is next used.
    """
    import sys
    from datetime import datetime

    from foldtune.data.store.build import default_cache
    from foldtune.data.store.cachesize import contents, parse_size, shrink
    from foldtune.data.store.cachesize import verify as verified

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


@data.command
def subset(
    source: str,
    out: LIST_OUT,
    *,
    shots: int,
    seed: SEED = 0,
    cache: Path | None = None,
    json: JSON = False,
) -> None:
    """Write the names of SHOTS training images a class to OUT, for index=OUT in a data's name.

    They are the images that --shots trains on with the same seed. A larger number of shots holds
    the smaller one. Images that were not decoded yet are read, since their pictures decide.
    """
    from foldtune.data.shots import write_subset
    from foldtune.data.sources.source import read_source
    from foldtune.data.store.build import default_cache
    from foldtune.data.store.keys import find_keys

    listing = read_source(source)
    keys = find_keys(listing, default_cache() if cache is None else cache.expanduser())
    told = write_subset(listing, keys, shots, seed, out)
    emit(told) if json else facts(told)
