"""The verb that writes a tuned model for others: export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foldtune.cli.app import JSON, TRUST, TrustOptions, app
from foldtune.cli.places import EXPORT_OUT
from foldtune.console import emit, facts
from foldtune.startup import import_hosts

if TYPE_CHECKING:
    from foldtune.backbones import Backbone
    from foldtune.data import ImageData
    from foldtune.tunings.export.folder import Exported

_FLAG = Parameter(negative="")


@app.command
def export(
    source: Path,
    *,
    out: EXPORT_OUT,
    onnx: Annotated[bool, _FLAG] = False,
    int8: Annotated[bool, _FLAG] = False,
    torch_export: Annotated[bool, _FLAG] = False,
    with_preprocessing: Annotated[bool, _FLAG] = False,
    dtype: str = "fp32",
    data: str | None = None,
    images: int = 512,
    weights: Path | None = None,
    cache: Path | None = None,
    trust: TrustOptions = TRUST,
    json: JSON = False,
) -> None:
    """Write a tuning, or the winner of a study, as a folder that timm or transformers loads.

    OUT gets weights, configuration, a model card, and a certificate over real images for each file:
    of DATA, or of what it was trained on, IMAGES of them at most. A method that does not fold in
    leaves its tuning, which foldtune reads, and the graphs that were asked for.

    onnx: also an ONNX graph (pip install "foldtune[onnx]"). int8: one that computes in 8 bits, with
    ranges from training images. torch-export: also a program for torch.export.load.
    with-preprocessing: graphs take uint8 pixels (batch, height, width, channels) and give
    probabilities. dtype: of stored weights, fp32, fp16 or bf16. cache: folder of decoded images.
    """
    import_hosts()
    from foldtune.study.export import export as run

    asked = {"onnx": onnx, "int8": int8, "torch-export": torch_export}
    found = run(
        source, out, data=data, formats=[name for name, wanted in asked.items() if wanted],
        dtype=dtype, whole=with_preprocessing, images=images, weights=weights, cache=cache,
        allowed=trust.hub,
    )  # fmt: skip
    _tell({"folder": str(found.folder), "loaded_by": found.kind}, found, json)


def merged_folder(
    tuning: Path, out: Path, backbone: Backbone, images: ImageData, alpha: float, json: bool
) -> None:
    """What `merge` writes into a folder, told as it tells it."""
    from foldtune.errors import InputError
    from foldtune.tunings.export.folder import export_tuning

    if alpha != 1.0:
        raise InputError("a folder holds the tuned model; with --alpha write a .safetensors file")
    found = export_tuning(tuning, out, backbone, images)
    _tell({"merged": str(out), "loaded_by": found.kind, "images": images.name}, found, json)


def _tell(told: dict[str, Any], found: Exported, json: bool) -> None:
    if json:
        emit(told | {"certificates": [one.told() for one in found.certificates]})
    else:
        facts(told | {one.file: str(one) for one in found.certificates})
