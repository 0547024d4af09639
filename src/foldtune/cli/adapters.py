"""Verbs about adapters of HF PEFT: export-peft, import-peft."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from foldtune.cli.app import JSON, MAIN, TUNING, app, hub, words
from foldtune.cli.places import ADAPTER_OUT, TENSORS_OUT
from foldtune.console import emit, facts
from foldtune.options.groups import FileOptions, ModelOptions
from foldtune.startup import import_hosts


@app.command
def export_peft(
    tuning: TUNING,
    *,
    out: Annotated[ADAPTER_OUT, words("The adapter's folder.", group=MAIN)],
    file: FileOptions = FileOptions(),
    json: JSON = False,
) -> None:
    """Write a TUNING as a folder OUT that PEFT's PeftModel.from_pretrained loads.

    The logits are equal and the classifier is in it.
    """
    from foldtune.core.edits import Reweight
    from foldtune.interop import read_adapter, to_peft
    from foldtune.tunings.tuning import open_tuning

    import_hosts()
    attachment, _, header = open_tuning(tuning, file.weights, hub(file.allow_hub))
    base = header["backbone"]["name"]
    adapter = read_adapter(
        to_peft(attachment, out, base=base, facts=_carried_facts(header, "backbone"))
    )
    told = {
        "adapter": str(out),
        "method": repr(attachment.method),
        "peft_type": adapter.config["peft_type"],
        "base": adapter.base,
        "layers": sum(isinstance(edit, Reweight) for edit in attachment.edits),
        "classes": attachment.num_classes,
    }
    emit(told) if json else facts(told)


@app.command
def import_peft(
    adapter: Annotated[Path, words("A folder that PEFT wrote.", group=MAIN)],
    *,
    out: Annotated[TENSORS_OUT, words("The tuning's .safetensors file to write.", group=MAIN)],
    model: Annotated[
        str | None, words("The backbone, where the adapter does not name it.", group=MAIN)
    ] = None,
    allow_hub: Annotated[
        bool, words("Fetch the model that the adapter names, where it is not in the cache.")
    ] = False,
    options: ModelOptions = ModelOptions(),
    json: JSON = False,
) -> None:
    """Write a PEFT ADAPTER folder as a tuning OUT, which eval, predict and merge take."""
    from foldtune.backbones.weights import as_a_file_says
    from foldtune.core.tuningfile import save
    from foldtune.errors import InputError
    from foldtune.interop import from_peft, read_adapter
    from foldtune.study.inputs import as_backbone

    import_hosts()
    read = read_adapter(adapter)
    name = model or read.base
    if name is None:
        raise InputError(f"the adapter in {adapter} does not name its backbone; give --model")
    if model is None:
        backbone = as_a_file_says(name, lambda: as_backbone(name, options), hub(allow_hub))
    else:
        backbone = as_backbone(model, options)
    identity = backbone.identity()
    attachment = from_peft(read, backbone)
    save(attachment, out, {"backbone": identity, **_carried_facts(read.header)})
    told = {
        "tuning": str(out),
        "method": repr(attachment.method),
        "model": name,
        "trainable": attachment.trainable,
        "classes": attachment.num_classes,
        "mergeable": attachment.mergeable,
    }
    emit(told) if json else facts(told)


def _carried_facts(header: dict[str, Any], *more: str) -> dict[str, Any]:
    """What a header says of a tuning beyond the attachment itself."""
    return {name: header[name] for name in ("classes", "data", "training", *more) if name in header}
