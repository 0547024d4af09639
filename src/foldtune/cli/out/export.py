"""The verb that writes a tuned model for others: export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from foldtune.cli.app import JSON, MAIN, app, hub, words
from foldtune.cli.places import EXPORT_OUT
from foldtune.console import emit, facts
from foldtune.options.groups import FileOptions
from foldtune.startup import import_hosts

if TYPE_CHECKING:
    from foldtune.tunings.export.folder import Exported

_OF_DATA = "Images for the certificates and for 8-bit ranges; by default those it was made with."
_WHOLE = "Graphs take uint8 pixels (batch, height, width, channels) and give probabilities."


@app.command
def export(
    source: Annotated[Path, words("A tuning, or a STUDY, of which the winner.", group=MAIN)],
    *,
    out: Annotated[EXPORT_OUT, words("The folder to write.", group=MAIN)],
    onnx: Annotated[
        bool, words('Also an ONNX graph (pip install "foldtune[onnx]").', group=MAIN)
    ] = False,
    int8: Annotated[
        bool, words("Also an ONNX graph that computes in 8 bits, ranges by training images.")
    ] = False,
    torch_export: Annotated[bool, words("Also a program for torch.export.load.")] = False,
    aoti: Annotated[
        bool, words("Also a package of AOTInductor: compiled, where a C++ compiler is.")
    ] = False,
    with_preprocessing: Annotated[bool, words(_WHOLE)] = False,
    dtype: Annotated[str, words("Of stored weights: fp32, fp16 or bf16.")] = "fp32",
    data: Annotated[str | None, words(_OF_DATA)] = None,
    images: Annotated[int, words("How many images certify each file, at most.")] = 512,
    cache: Annotated[
        Path | None, words("Folder of decoded images; by default the user's cache.")
    ] = None,
    file: FileOptions = FileOptions(),
    json: JSON = False,
) -> None:
    """Write a tuning, or the winner of a study, as a folder that timm or transformers loads.

    OUT gets weights, configuration, a model card, and a certificate over real images for each file.
    A method that does not fold in leaves its tuning, which foldtune reads, and the graphs that were
    asked for.
    """
    import_hosts()
    from foldtune.study.tuned.export import export as run

    asked = {"onnx": onnx, "int8": int8, "torch-export": torch_export, "aoti": aoti}
    found = run(
        source, out, data=data, formats=[name for name, wanted in asked.items() if wanted],
        dtype=dtype, whole=with_preprocessing, images=images, weights=file.weights, cache=cache,
        allowed=hub(file.allow_hub),
    )  # fmt: skip
    tell_export({"folder": str(found.folder), "loaded_by": found.kind}, found, json)


def tell_export(told: dict[str, Any], found: Exported, json: bool) -> None:
    """What was written, and the certificate of each file."""
    if json:
        emit(told | {"certificates": [one.as_json() for one in found.certificates]})
    else:
        facts(told | {one.file: str(one) for one in found.certificates})
