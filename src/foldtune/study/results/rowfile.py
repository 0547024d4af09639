"""The format of `rows.jsonl`: one row a line, each with a checksum.

A line is `{"crc":"1c291ca3","row":{"run":"...",...}}`; the checksum is the CRC-32 of the row's own
bytes. A last line without newline that does not check is torn: its `add` never returned. Any other
line that does not check was damaged after it was written.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.analysis.row import Row
from foldtune.errors import InputError
from foldtune.files import replacing_on_disk

ROWS = "rows.jsonl"
_HEAD = b'{"crc":"%08x","row":'
_BODY = len(_HEAD % 0)
_CLOSE = ord("}")
_RUN = re.compile(rb'\{"run":"([\w.-]+)"')
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Scan:
    """What a row file holds: rows by run (the first stands), damaged lines by line number, the
    length of its sound part, and whether the last row lacks its newline."""

    lines: dict[str, memoryview]
    damaged: dict[int, bytes]
    end: int
    open_ended: bool


def scan(path: Path) -> Scan:
    """Check every line of the file, without parsing one."""
    # One buffer and views into it: a copy of each line would double time and memory.
    data = memoryview(path.read_bytes() if path.exists() else b"")
    buffer: bytes = data.obj  # type: ignore[assignment]
    lines: dict[str, memoryview] = {}
    damaged: dict[int, bytes] = {}
    start, number = 0, 1
    while (end := buffer.find(b"\n", start)) >= 0:
        if body := _check(data[start:end]):
            lines.setdefault(_run_of(body), body)
        elif (line := buffer[start:end]).strip():
            damaged[number] = line
        start, number = end + 1, number + 1
    if body := _check(data[start:]):
        lines.setdefault(_run_of(body), body)
        return Scan(lines, damaged, len(data), True)
    return Scan(lines, damaged, start, False)


def _check(line: memoryview) -> memoryview | None:
    """The row's bytes where the line is whole."""
    body = line[_BODY:-1]
    if not body or line[-1] != _CLOSE:
        return None
    return body if line[:_BODY] == _HEAD % zlib.crc32(body) else None


def _run_of(body: memoryview) -> str:
    match = _RUN.match(body)
    return str(match[1], "ascii") if match else str(parse_row(body, ROWS).get("run"))


def parse_row(body: memoryview, path: object) -> Row:
    """The row in these bytes. Raises InputError for one that is no object of JSON."""
    row: Row = gate.parse(bytes(body), f"a row of {path}")
    if not isinstance(row, dict):
        raise InputError(f"a row of {path} is {type(row).__name__}, not an object; it is damaged")
    return row


def set_aside(path: Path, damaged: Iterable[bytes]) -> None:
    """Move damaged lines to rows.corrupt.jsonl; killed in between, they are in both files."""
    lost = set(damaged)
    aside = path.with_name("rows.corrupt.jsonl")
    kept = aside.read_bytes().split(b"\n") if aside.exists() else []
    with aside.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in sorted(lost) if line not in kept))
        file.flush()
        os.fsync(file.fileno())
    lines = path.read_bytes().split(b"\n")
    replace(path, b"\n".join(line for line in lines if line not in lost))


def replace(path: Path, data: bytes) -> None:
    """Put the data in the file's place at once: a reader sees the old file or the new one."""
    try:
        with replacing_on_disk(path) as fresh:
            fresh.write_bytes(data)
    except OSError as error:
        raise unwritable(path.parent, error) from None


def encode(row: Mapping[str, Any]) -> bytes:
    """The row's bytes, ASCII, its run first so that it is found without parsing."""
    run = row.get("run")
    if not isinstance(run, str) or not re.fullmatch(r"[\w.-]+", run, re.ASCII):
        raise InputError(f"a row needs its hash under 'run' (letters and digits), got {run!r}")
    plain = finite({"run": run, **row})
    return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()


def line_of(body: bytes) -> bytes:
    return _HEAD % zlib.crc32(body) + body + b"}\n"


def finite(value: Any) -> Any:
    """The value with null for what is not a finite number, which JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value if value is None or isinstance(value, str | int) else finite(_plain(value))


def _plain(value: Any) -> Any:
    """A number of numpy or torch as Python's own; a path as its text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise InputError(f"a row holds numbers, texts, lists and dicts, not {type(value).__name__}")


def unwritable(folder: Path, error: OSError) -> InputError:
    cure = "free some space" if error.errno in _NO_ROOM else "check that it is a folder of yours"
    return InputError(
        f"study {folder} cannot be written ({error.strerror}); {cure} and call again: "
        "every row stored so far is whole"
    )
