"""Zips, tars, npz files and tables, mutated as bytes and in what they say."""

from __future__ import annotations

import functools
import io
import json
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import images
import numpy as np
from mutate import mutated

from foldtune.data import read_source
from foldtune.data.store.decode import Fit, read_image
from foldtune.data.tools.check import describe, refuse_absent

_NAMES = (
    "a/0.png", "b/1.png", "train/a/2.png", "test/b/3.jpg", "../x.png", "/etc/x.png", "C:\\x.png",
    "a\\4.png", "a", "", ".", "a/b/c/5.png", "a/\0.png", "a/" + "n" * 300 + ".png", "é/6.png",
    "a/7.heic", "a/8.csv", "__MACOSX/a/0.png", "zebra/", "a/0.png",
)  # fmt: skip
_CELLS = (
    "a/0.png", "b/1.png", "", "nan", "inf", "-1", "1e309", "../../etc/passwd", "/dev/zero", "x,y",
    '"', "\0", "é", "1.0", "1", "0.5", "[1, 2]", "{}", "é" * 300, "train", "test", "=1+1",
)  # fmt: skip


def make_zip(rng: random.Random) -> dict[str, bytes]:
    file = io.BytesIO()
    sound = ("a/0.png", "a/2.png", "b/1.png", "b/3.heic", "b/é.jpg")
    names = _NAMES if rng.random() < 0.6 else sound
    with zipfile.ZipFile(file, "w", rng.choice((0, 8, 12, 14))) as archive:
        for _ in range(rng.randrange(1, 9)):
            name = zipfile.ZipInfo(rng.choice(names))
            if rng.random() < 0.1:
                name.external_attr = rng.choice((0o120777, 0o010644, 0o020644)) << 16
            name.compress_type = archive.compression
            data = rng.choice((rng.choice(images.seeds()), images.make(rng)["a.png"], b"", b"x"))
            archive.writestr(name, data)
    return {"x.zip": _maybe(rng, file.getvalue())}


def make_tar(rng: random.Random) -> dict[str, bytes]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=rng.choice((0, 1, 2))) as archive:
        for number in range(rng.randrange(1, 9)):
            stem = rng.choice((f"{number}", f"cat.v1.{number}", "k", "a/0"))
            label = rng.choice((b"a", b"", b"\xff\xfe", b'{"label": 1}', b"[" * 5000, b"3"))
            other = rng.choice((".cls", ".json", ".txt", ".seg.png"))
            for end, data in ((".jpg", rng.choice(images.seeds())), (other, label)):
                member = tarfile.TarInfo(stem + end)
                member.size = len(data)
                member.type = rng.choice((b"0",) * 9 + (b"1", b"2", b"3", b"6"))
                archive.addfile(member, io.BytesIO(data))
    return {"x.tar": _maybe(rng, file.getvalue())}


def make_npz(rng: random.Random) -> dict[str, bytes]:
    if rng.random() < 0.4:  # sound but for what is mutated
        file = io.BytesIO()
        kind = rng.choice(("u1", "u2", "f4"))
        shape = (4, 6, 5, rng.choice((1, 3, 6)))
        np.savez(file, images=np.full(shape, 9, kind), labels=[0, 1, 0, 1])
        return {"x.npz": _maybe(rng, file.getvalue())}
    shape = (rng.choice((0, 1, 4)), *(rng.choice((1, 5, 8)) for _ in range(2)))
    shape += rng.choice(((), (1,), (3,), (6,), (65,), (2, 2)))
    kind = rng.choice(("u1", "u1", "u2", "f4", "i4", "f8", "c8", "?", "U3"))
    arrays: dict[str, Any] = {
        rng.choice(("images", "x", "train_images", "odd")): np.zeros(shape, kind),
        rng.choice(("labels", "y", "train_labels")): np.array(
            [rng.choice((0, 1, 2, 10**9, -1, 2**62)) for _ in range(rng.choice((shape[0], 3)))],
            rng.choice(("i8", "i8", "f8", object)),
        ),
    }
    if rng.random() < 0.2:
        arrays["classes"] = np.array(["a", "b"])
    file = io.BytesIO()
    np.savez_compressed(file, **arrays) if rng.random() < 0.5 else np.savez(file, **arrays)
    return {"x.npz": _maybe(rng, file.getvalue())}


def make_table(rng: random.Random) -> dict[str, bytes]:
    columns = rng.sample(
        ("path", "label", "split", "group", "file_name", "image", "bytes", "class", "id_code", ""),
        rng.randrange(1, 6),
    )
    if rng.random() < 0.7:
        columns = ["path", "label", *columns[:2]]
    rows = [[rng.choice(_CELLS) for _ in columns] for _ in range(rng.randrange(12))]
    if rng.random() < 0.5:  # sound but for what is mutated
        columns, rows = (
            ["path", "label"],
            [["a/0.png", "a"], ["b/1.png", "b"]] * rng.randrange(1, 5),
        )
    beside = {"a/0.png": images.seeds()[0], "b/1.png": images.seeds()[1]}
    kind = rng.random()
    if kind < 0.4:
        separator = rng.choice((",", ";", "\t"))
        text = "\n".join(separator.join(row) for row in [columns, *rows])
        return {"x.csv": _maybe(rng, text.encode()), **beside}
    if kind < 0.75:
        lines = [json.dumps(dict(zip(columns, map(_value(rng), row), strict=True))) for row in rows]
        name = rng.choice(("x.jsonl", "metadata.jsonl"))
        return {name: _maybe(rng, "\n".join(lines).encode()), **beside}
    return {"x.parquet": _maybe(rng, _parquet(rng.randrange(6))), **beside}


def read(folder: Path, rng: random.Random) -> None:
    """List, describe, and decode some pictures; InputError is for the runner to take."""
    source = min(p for p in folder.iterdir() if p.is_file())
    if source.name.startswith("metadata") and rng.random() < 0.5:
        source = folder
    listing = read_source(source)
    refuse_absent(listing)
    json.dumps(describe(listing))
    for item in listing.items[:4]:
        read_image(listing.open, item.name, Fit(16))


def _maybe(rng: random.Random, data: bytes) -> bytes:
    return mutated(rng, data) if rng.random() < 0.7 else data


def _value(rng: random.Random) -> Any:
    def made(cell: str) -> Any:
        return rng.choice((cell, cell, cell, [cell], [cell, cell], {"a": cell}, 1, 0.5, None, True))

    return made


@functools.cache
def _parquet(kind: int) -> bytes:
    import pyarrow
    from pyarrow import parquet

    names = json.dumps(
        {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    )
    columns: list[dict[str, Any]] = [
        {"path": ["a/0.png", "b/1.png"], "label": ["a", "b"]},
        {"image": [{"bytes": images.seeds()[0], "path": "0"}] * 2, "label": [0, 1]},
        {"image": [{"bytes": None, "path": "0"}] * 2, "label": [0, 1]},
        {"bytes": [images.seeds()[0], b""], "label": [0.5, None]},
        {"path": ["a/0.png", None], "label": [[0, 1], [1]]},
        {"image": [{"bytes": images.seeds()[2], "path": "0"}] * 2, "label": [0, 7]},
    ]
    table = pyarrow.table(columns[kind])
    if kind in (1, 5):
        table = table.replace_schema_metadata({"huggingface": names})
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()
