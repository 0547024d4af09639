"""Features of image files: what reaches the classifier of a backbone or of a tuned model."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foldtune.backbones import Backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.console import plain
from foldtune.core.structure.head import find_head
from foldtune.data.store.ahead import decoded_ahead
from foldtune.data.store.decode import Fit, read_pixels
from foldtune.errors import InputError, NotInstalled
from foldtune.files import replacing
from foldtune.training.probe import classifier_inputs
from foldtune.tunings.imagefiles import fit_of
from foldtune.tunings.predict import read_path
from foldtune.tunings.tuning import Modelled

FORMS = (".npz", ".parquet")
_SHOWN = 200  # files whose neighbours a page shows
_SIDE = 96  # pixels of a thumbnail


@dataclass(frozen=True, eq=False)
class Embedded:
    """names: of the files that could be read, in order; features: (files, width) float32; broken:
    why, by the names of the others."""

    names: tuple[str, ...]
    features: np.ndarray
    broken: Mapping[str, str]


def embed_images(
    tuned: Modelled,
    backbone: Backbone,
    paths: Sequence[Path],
    read_as: Mapping[str, Any] | None = None,
    workers: int | None = None,
) -> Embedded:
    """What reaches the (first) classifier, of every file that is an image. Arguments are those of
    `predict_images`. Raises InputError where none is."""
    head, prepare = find_head(tuned.model)[0], prepare_for(backbone)
    names = [str(path) for path in paths]
    kept, parts, broken = list[str](), list[np.ndarray](), dict[str, str]()
    for found in decoded_ahead(names, read_path, fit_of(backbone, read_as), workers):
        own = names[found.first : found.first + len(found.pixels)]
        whole = np.array([i for i in range(len(own)) if i not in found.broken], np.int64)
        broken |= {own[place]: why for place, why in found.broken.items()}
        if len(whole):
            kept += [own[place] for place in whole]
            parts.append(classifier_inputs(tuned.model, head, found.pixels, whole, prepare))
    if not parts:
        name, why = next(iter(broken.items()))
        raise InputError(f"none of the {len(names)} files is an image; {name}: {why}")
    return Embedded(tuple(kept), np.concatenate(parts).astype(np.float32), broken)


def write_features(found: Embedded, path: Path) -> None:
    """`.npz` with `names` and `features`, which NumPy reads without pickle, or `.parquet` with
    columns `path` and `features`. Raises InputError for another suffix."""
    if path.suffix == ".npz":
        with replacing(path) as fresh, fresh.open("wb") as file:
            np.savez(file, names=np.array(found.names), features=found.features)
    elif path.suffix == ".parquet":
        try:
            import pyarrow as arrow
            from pyarrow import parquet
        except ImportError as error:
            raise NotInstalled("a .parquet file", "pyarrow", "parquet") from error
        flat = arrow.array(found.features.reshape(-1))
        rows = arrow.FixedSizeListArray.from_arrays(flat, found.features.shape[1])
        with replacing(path) as fresh:
            parquet.write_table(arrow.table({"path": list(found.names), "features": rows}), fresh)
    else:
        raise InputError(f"features go into {' or '.join(FORMS)}, not {path.name}")


def nearest(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the `count` others of the largest cosine, nearest first, and the cosines.

    features: (files, width). Raises InputError for more neighbours than there are others.
    """
    if not 1 <= count < len(features):
        raise InputError(f"of {len(features)} images none has {count} neighbours")
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    which, cosines = [], []
    for start in range(0, len(unit), 1024):
        alike = unit[start : start + 1024] @ unit.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
        best = np.argsort(-alike, axis=1, kind="stable")[:, :count]
        which.append(best)
        cosines.append(np.take_along_axis(alike, best, 1))
    return np.concatenate(which), np.concatenate(cosines)


def write_neighbours(found: Embedded, path: Path, count: int = 5) -> None:
    """A page with the nearest neighbours of each of the first 200 images; it needs no network."""
    which, cosines = nearest(found.features, count)
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8") as file:
        file.write(_HEAD)
        for row in range(min(len(which), _SHOWN)):
            cells = [_picture(found.names[row], "")]
            cells += [
                _picture(found.names[other], f"{cosine:.3f}")
                for other, cosine in zip(which[row], cosines[row], strict=True)
            ]
            file.write(f"<tr>{''.join(cells)}</tr>\n")
        more = len(which) - _SHOWN
        file.write("</table>" + (f"<p>{more} images more are not shown.</p>" if more > 0 else ""))


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Nearest neighbours</title>
<style>body{font:14px system-ui,sans-serif;margin:2em}td{padding:4px;text-align:center;
font-size:12px;max-width:8em;overflow-wrap:anywhere;vertical-align:top}
td:first-child{border-right:2px solid #888}img{width:96px;height:96px;object-fit:contain}</style>
<h1>Nearest neighbours</h1><p>Each image, and those whose features are most alike, with the cosine
of the angle between them.</p><table>
"""


def _picture(name: str, words: str) -> str:
    image = read_pixels(read_path, name, Fit(_SIDE))
    shown = html.escape(plain(Path(name).name))
    if isinstance(image, str):
        return f"<td>{shown}<br>{html.escape(image)}</td>"
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<td><img alt="{shown}" src="data:image/jpeg;base64,{data}"><br>{shown} {words}</td>'
