"""Verbs about adapters of HF PEFT: export-peft, import-peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foldtune.cli.app import JSON, MODEL, TRUST, ModelOptions, TrustOptions, app
from foldtune.cli.places import ADAPTER_OUT, TENSORS_OUT
from foldtune.console import emit, facts
from foldtune.startup import import_hosts


@app.command
def export_peft(
    tuning: Path,
    *,
    out: ADAPTER_OUT,
    weights: Path | None = None,
    trust: TrustOptions = TRUST,
    json: JSON = False,
) -> None:
    """Write a TUNING as a folder OUT that PEFT's PeftModel.from_pretrained loads.

    The logits are equal and the classifier is in it. weights: the backbone's file, where it was
    trained on one.
    """
    from foldtune.interop import read_adapter, to_peft
    from foldtune.tunings.tuning import opened

    import_hosts()
    attachment, _, header = opened(tuning, weights, trust.hub)
    base = header["backbone"]["name"]
    adapter = read_adapter(to_peft(attachment, out, base=base, facts=_kept(header, "backbone")))
    told = {
        "adapter": str(out),
        "method": repr(attachment.method),
        "peft_type": adapter.config["peft_type"],
        "base": adapter.base,
        "layers": len(adapter.parts),
        "classes": attachment.num_classes,
    }
    emit(told) if json else facts(told)


@app.command
def import_peft(
    adapter: Path,
    *,
    out: TENSORS_OUT,
    model: str | None = None,
    trust: TrustOptions = TRUST,
    options: ModelOptions = MODEL,
    json: JSON = False,
) -> None:
    """Write a PEFT ADAPTER folder as a tuning OUT, which eval, predict and merge take.

    model: the backbone, where the adapter does not name it.
    """
    from foldtune.backbones.weights import as_a_file_says
    from foldtune.core.tuningfile import save
    from foldtune.errors import InputError
    from foldtune.interop import from_peft, read_adapter

    read = read_adapter(adapter)
    name = model or read.base
    if name is None:
        raise InputError(f"the adapter in {adapter} does not name its backbone; give --model")
    if model is None:
        backbone = as_a_file_says(name, lambda: options.load(name), trust.hub)
    else:
        backbone = options.load(model)
    identity = backbone.identity()
    attachment = from_peft(read, backbone)
    save(attachment, out, {"backbone": identity, **_kept(read.header)})
    told = {
        "tuning": str(out),
        "method": repr(attachment.method),
        "model": name,
        "trainable": attachment.trainable,
        "classes": attachment.num_classes,
        "mergeable": attachment.mergeable,
    }
    emit(told) if json else facts(told)


def _kept(header: dict[str, Any], *more: str) -> dict[str, Any]:
    """What a header says of a tuning beyond the attachment itself."""
    return {name: header[name] for name in ("classes", "data", "training", *more) if name in header}
