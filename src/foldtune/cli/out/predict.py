"""The verb that names the classes of image files: predict."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from foldtune.cli.app import FILES, JSON, TUNED, app, hub, words
from foldtune.cli.places import FOLDER_OUT, TABLE_OUT
from foldtune.console import emit, say, table
from foldtune.options.groups import AnswerOptions, FileOptions, LikelyOptions
from foldtune.options.taken import non_defaults
from foldtune.startup import import_hosts

_OF_SORT = "A folder with one for each class, into which every image is copied."
_FOR_PEOPLE = 1000  # rows of a table on a terminal; more want a file


@app.command
def predict(
    tuning: TUNED,
    images: FILES | None = None,
    /,
    *,
    csv: Annotated[TABLE_OUT | None, words("Write a table there in place of printing it.")] = None,
    sort_into: Annotated[FOLDER_OUT | None, words(_OF_SORT)] = None,
    link: Annotated[bool, words("Link there in place of copying.")] = False,
    likely: LikelyOptions = LikelyOptions(),
    answering: AnswerOptions = AnswerOptions(),
    file: FileOptions = FileOptions(),
    json: JSON = False,
) -> None:
    """Name the class, labels or number of each of IMAGES with a TUNING, a folder, or an ensemble.

    A file that is no image is told, the others go on, and the exit code is 1. Samples of more than
    8 bits are read by the range that the tuning was trained with.
    """
    from foldtune.errors import InputError

    import_hosts()
    from foldtune.study.tuned.predict import answers
    from foldtune.tunings.files import Sorted, expand, read_list

    if link and sort_into is None:
        raise InputError("--link says how --sort-into puts images there; give both or none")
    paths = expand(images or read_list(sys.stdin))
    asked = non_defaults(likely, answering, file)
    rows, classes = answers(
        tuning,
        paths,
        say=say,
        allow=hub(file.allow_hub),
        into_classes=sort_into is not None,
        **asked,
    )
    if sort_into is not None:
        rows = _sort_files(rows, Sorted(sort_into, classes, link))
    broken, rows = _split_unreadable(_with_bar(rows, len(paths)))
    if csv is not None:
        _write(csv, rows)
    elif json:
        emit(list(rows))
    else:
        _show(list(rows))
    if broken:
        say(f"{len(broken)} of {len(paths)} files could not be read")
        raise SystemExit(1)


def _split_unreadable(rows: Iterable[dict[str, Any]]) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The files that cannot be read, filled while rows are taken, a line each as they come."""
    broken: list[str] = []

    def through() -> Iterator[dict[str, Any]]:
        for row in rows:
            if "error" in row:
                broken.append(row["image"])
                say(f"{row['image']}: {row['error']}")
            yield row

    return broken, through()


def _with_bar(rows: Iterable[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """The rows, with a bar on a terminal."""
    if not sys.stderr.isatty():
        yield from rows
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(rows, "images", total=count, console=Console(stderr=True), transient=True)


def _sort_files(rows: Iterable[dict[str, Any]], into: Any) -> Iterator[dict[str, Any]]:
    for row in rows:
        if "class" in row:
            row["sorted"] = str(into.take(Path(row["image"]), row["class"]))
        yield row


def _columns(first: Mapping[str, Any]) -> list[str]:
    """What a table tells of each file, from what is told of one."""
    return [name for name in _flat(first) if name not in ("probabilities", "top", "sorted")]


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table, row by row as they come; it appears whole or not at all."""
    from foldtune.files import replacing

    # The columns are those of the first file that is an image, before which few are not.
    source, before = iter(rows), list[Mapping[str, Any]]()
    for row in source:
        before.append(row)
        if "error" not in row:
            break
    columns = _columns(before[-1])
    rows = itertools.chain(before, source)
    with (
        replacing(path) as fresh,
        fresh.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, dict.fromkeys([*columns, "error"]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_flat(row) for row in rows)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its further classes as columns, and several labels as one text."""
    further = list(enumerate(row.get("top", ())))[1:]
    told = dict(row) | {f"{k}_{n + 1}": v for n, one in further for k, v in one.items()}
    return told | ({"labels": ", ".join(row["labels"])} if "labels" in row else {})


def _show(rows: list[dict[str, Any]]) -> None:
    good = [_flat(row) for row in rows if "error" not in row]
    if good:
        table(good[:_FOR_PEOPLE], _columns(good[0]))
    if len(good) > _FOR_PEOPLE:
        say(f"{len(good) - _FOR_PEOPLE} more; --csv FILE or --json tells all")
