"""A tuning, or the winner of a study, as a folder for other libraries and runtimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from foldtune.analysis.leaderboard import configuration
from foldtune.backbones import Backbone
from foldtune.backbones.tuning import backbone_of
from foldtune.data import ImageData, load_data
from foldtune.data.pictures.intensity import OWN, read_setting
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.errors import InputError
from foldtune.study.results.artefacts import TUNING, of_run
from foldtune.study.results.predictions import judged_board
from foldtune.study.results.store import Store
from foldtune.study.tuned.rules import temperature_from
from foldtune.tunings.export.folder import Asked, Exported, export_tuning
from foldtune.tunings.tuning import header_of


def export(
    source: str | Path,
    out: str | Path,
    *,
    data: str | Path | ImageData | None = None,
    formats: Sequence[str] = (),
    dtype: str = "fp32",
    whole: bool = False,
    images: int = 512,
    weights: str | Path | None = None,
    cache: str | Path | None = None,
    allow_hub: bool = False,
    allowed: Callable[[str], bool] | None = None,
) -> Exported:
    """Write a tuning, or the winner of a study folder, as a folder that timm (`local-dir:`,
    `hf-hub:`) or transformers loads as it is, with a model card and a certificate for every file.

    data: images for the certificates, by default those that the tuning was made with. formats: also
    "onnx", "int8" (ONNX in 8 bits), "torch-export" and "aoti" (compiled by AOTInductor). dtype: of
    the stored weights, fp32, fp16 or bf16. whole: graphs take uint8 pixels and give probabilities.
    images: to certify on, at most. weights: the backbone's file, where it is not a published one.
    Raises InputError where a file cannot be written or read.
    """
    asked = Asked(tuple(formats), dtype, whole, images)
    tuning, row = chosen_tuning(Path(source))
    may = allowed or (lambda _name: allow_hub)
    header = header_of(tuning)
    backbone = backbone_of(header, None if weights is None else Path(weights), may)
    found = images_for(tuning, header, backbone, data, cache, may)
    at = temperature_from(tuning, header)
    return export_tuning(tuning, Path(out), backbone, found, asked, row, at)


def chosen_tuning(source: Path) -> tuple[Path, Mapping[str, Any] | None]:
    """The file of a tuning, and what is known of its method: of a study the winner's first final
    run. Raises InputError for a study without one."""
    if not (source / "study.json").is_file():
        return source, None
    board, _ = judged_board(source)
    best = next((entry for entry in board if entry["winner"]), None)
    if best is None:
        raise InputError(f"{source} has no winner yet; see foldtune status {source}")
    finals = [
        row for row in Store(source).rows()
        if row["stage"] == "final" and row["verdict"] == "finished"
        and configuration(row) == configuration(best)
    ]  # fmt: skip
    if not finals:
        raise InputError(f"the winner of {source} has no finished final run; call compare again")
    return of_run(source, finals[0], TUNING).open_checked(source), {
        **best,
        "test": finals[0]["test"],
    }


def images_for(
    tuning: Path,
    header: Mapping[str, Any],
    backbone: Backbone,
    data: str | Path | ImageData | None,
    cache: str | Path | None,
    allowed: Callable[[str], bool],
) -> ImageData:
    """The images that were asked for, or those that the tuning says it was made with, read as it
    read them."""
    if isinstance(data, ImageData):
        return data
    told = header.get("data") or {}
    source = str(data) if data else told.get("source")
    if source is None:
        raise InputError(f"{tuning} does not say what it was trained on; give images with --data")
    if data is None and source.startswith("hf:") and not allowed(source):
        raise InputError(
            f"{tuning} was trained on {source}, which is on the hub; give images with --data, or "
            "have them fetched with --allow-hub"
        )
    own, transform = source == told.get("source"), backbone.transform
    ranged = told.get("range") or told.get("wide")
    return load_data(
        source, size=transform.size, interpolation=transform.interpolation,
        resize=transform.resize, seed=None, channels=transform.channels,
        range=read_setting(told) if ranged else OWN,
        skip_broken=own and bool(told.get("skip_broken")),
        max_pixels=(own and told.get("max_pixels")) or MAX_PIXELS,
        cache=None if cache is None else Path(cache),
    )  # fmt: skip
