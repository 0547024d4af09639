"""The verb that names the classes of image files: predict."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from foldtune.cli.app import JSON, TRUST, TrustOptions, app
from foldtune.cli.places import FOLDER_OUT, TABLE_OUT
from foldtune.console import emit, say, table
from foldtune.startup import import_hosts

_FLAG = Parameter(negative="")
_FOR_PEOPLE = 1000  # rows of a table on a terminal; more want a file


@app.command
def predict(
    tuning: Path,
    images: list[Path] | None = None,
    /,
    *,
    top: int = 1,
    csv: TABLE_OUT | None = None,
    calibrated: Annotated[bool, _FLAG] = False,
    tta: str | None = None,
    sort_into: FOLDER_OUT | None = None,
    link: Annotated[bool, _FLAG] = False,
    weights: Path | None = None,
    trust: TrustOptions = TRUST,
    json: JSON = False,
) -> None:
    """Name the class, labels or number of each of IMAGES with a TUNING, a folder, or an ensemble.

    A folder stands for the pictures in it, a pattern for what it fits; without IMAGES a list is
    read from standard input, a path a line. A file that is no image is told, the others go on, and
    the exit code is 1. Samples of more than 8 bits are read by the range that the tuning was
    trained with.

    top: classes an image. csv: write a table there in place of printing it. calibrated: with
    probabilities as right as they say, by a temperature from validation images (an exported folder
    keeps it). tta: flip, for the mean over each image and its mirror image. sort-into: copy every
    image to a folder of its class in that one; link: or link it.
    """
    from foldtune.errors import InputError
    from foldtune.tunings.files import Sorted, expanded, listed
    from foldtune.tunings.hub import local

    import_hosts()
    if link and sort_into is None:
        raise InputError("--link says how --sort-into puts images there; give both or none")
    given = images or listed(sys.stdin)
    paths = expanded(given)
    rows, classes = _rows(
        local(tuning), paths, top, calibrated, tta, sort_into is not None, weights, trust
    )
    if sort_into is not None:
        rows = _sorted(rows, Sorted(sort_into, classes, link))
    broken, rows = _told(_watched(rows, len(paths)))
    if csv is not None:
        _write(csv, rows)
    elif json:
        emit(list(rows))
    else:
        _show(list(rows))
    if broken:
        say(f"{len(broken)} of {len(paths)} files could not be read")
        raise SystemExit(1)


def _rows(
    tuning: Path,
    paths: list[Path],
    top: int,
    calibrated: bool,
    tta: str | None,
    sort: bool,
    weights: Path | None,
    trust: TrustOptions,
) -> tuple[Iterator[dict[str, Any]], list[str]]:
    """What is predicted, and the classes."""
    from foldtune.errors import InputError
    from foldtune.judging.mirror import viewed
    from foldtune.study.ensembles import is_ensemble, open_ensemble, predict_with_ensemble
    from foldtune.tunings.answers import refuse_unless_classes
    from foldtune.tunings.predict import answer_of, predict_images
    from foldtune.tunings.usable import Plain, temperature_of, usable

    if is_ensemble(tuning):
        if top > 1 or calibrated or tta:
            raise InputError(
                f"{tuning} is an ensemble; --top, --calibrated and --tta are of one tuning"
            )
        classes = open_ensemble(tuning).header["classes"]
        return predict_with_ensemble(tuning, paths, weights, trust.hub), classes
    temperature = temperature_of(tuning) if calibrated else None
    if calibrated and temperature is None:
        raise InputError(
            f"{tuning} keeps no temperature from validation images; foldtune export writes a "
            "folder that does, of a tuning that was not trained on all of them"
        )
    tuned, backbone, header = usable(tuning, weights, trust.hub)
    if sort:
        refuse_unless_classes(header, "a folder for each class")
    answer, tuned = answer_of(header, top, temperature), Plain(viewed(tuned.model, tta))
    return predict_images(tuned, backbone, paths, answer, header.get("data")), header["classes"]


def _told(rows: Iterable[dict[str, Any]]) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The files that cannot be read, filled while rows are taken, a line each as they come."""
    broken: list[str] = []

    def through() -> Iterator[dict[str, Any]]:
        for row in rows:
            if "error" in row:
                broken.append(row["image"])
                say(f"{row['image']}: {row['error']}")
            yield row

    return broken, through()


def _watched(rows: Iterable[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """The rows, with a bar on a terminal."""
    if not sys.stderr.isatty():
        yield from rows
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(rows, "images", total=count, console=Console(stderr=True), transient=True)


def _sorted(rows: Iterable[dict[str, Any]], into: Any) -> Iterator[dict[str, Any]]:
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
