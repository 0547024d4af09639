"""An attachment as a PEFT adapter folder.

adapter_config.json, adapter_model.safetensors, README.md. PEFT itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from foldtune.backbones.backbone import Backbone
from foldtune.backbones.tuning import load
from foldtune.core.attachment import Attachment
from foldtune.core.header import OWN_FIELDS
from foldtune.core.tensorfile import write_tensors
from foldtune.core.tuningfile import TuningFile, header_of, header_text
from foldtune.errors import InputError
from foldtune.interop.peft_config import adapter_of
from foldtune.interop.peft_tensors import BESIDE, CONFIG, NOTE, PREFIX, TENSORS


def to_peft(
    source: Attachment | str | Path,
    folder: str | Path,
    *,
    model: nn.Module | Backbone | None = None,
    base: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write an attachment, or a tuning file, as an adapter that `PeftModel.from_pretrained` loads
    over the same backbone with the same logits; the classifier is in its `modules_to_save`.

    model: for a tuning file, the backbone, where the file does not name one that can be built.
    base: name of the backbone for `base_model_name_or_path`, where neither file nor model says it.
    facts: further header fields, as for `save`; they come back with `from_peft`.

    Raises InputError, with nothing written, where PEFT has no equal form: side networks, changes
    that no PEFT layer computes, two changes of one layer, layers that are never called.
    """
    if isinstance(source, Attachment):
        return _write(source, Path(folder), base, facts or {})
    header = TuningFile.of(source).header
    attachment = load(source, model)
    try:
        named = base or (header.get("backbone") or {}).get("name")
        known = {k: v for k, v in header.items() if k not in OWN_FIELDS}
        return _write(attachment, Path(folder), named, known | dict(facts or {}))
    finally:
        attachment.detach()


def _write(
    attachment: Attachment, folder: Path, base: str | None, facts: Mapping[str, Any]
) -> Path:
    base = base or _name_of(attachment.model)
    adapter = adapter_of(attachment)
    header = header_of(attachment, facts)
    adapter.config |= {
        "base_model_name_or_path": base,
        "inference_mode": True,
        "task_type": None,
    }
    named = {f"{PREFIX}{n}": t for n, t in adapter.tensors.items()}
    named |= {f"{BESIDE}{n}": t for n, t in adapter.beside.items()}
    tensors = {n: t.detach().cpu().contiguous() for n, t in named.items()}
    write_tensors(tensors, folder / TENSORS, {"format": "pt", NOTE: header_text(header)})
    (folder / CONFIG).write_text(json.dumps(adapter.config, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").write_text(_card(attachment, base, facts))
    return folder


def _name_of(model: nn.Module) -> str:
    """The name that timm or transformers gave the model. Raises InputError where there is none."""
    config = getattr(model, "pretrained_cfg", None) or {}
    if config.get("architecture"):
        return ".".join(filter(None, (config["architecture"], config.get("tag"))))
    name = getattr(model, "name_or_path", "")
    if not name:
        raise InputError(
            f"{type(model).__name__} does not say its name, and an adapter without it fits nothing "
            "for sure; give to_peft(..., base='vit_small_patch14_dinov2.lvd142m')"
        )
    return str(name)


def _card(attachment: Attachment, base: str, facts: Mapping[str, Any]) -> str:
    """How to load the folder, for those who find it without this library."""
    count = attachment.num_classes
    weights = (facts.get("backbone") or {}).get("weights")
    given = f"\n\nWeights of the backbone: {weights}." if weights else ""
    return f"""---
library_name: peft
---
# {attachment.method!r} on {base}

A tuning made by foldtune, as a PEFT adapter; the classifier of {count} classes is in it.{given}

```python
{_building(attachment.model, base, count)}
from peft import PeftModel
model = PeftModel.from_pretrained(model, "PATH_OF_THIS_FOLDER").eval()
```
"""


def _building(model: nn.Module, base: str, count: int) -> str:
    """Python that builds the backbone with `count` classes."""
    from foldtune.backbones import lite

    if base in ("micro", *lite.NAMES):
        return f"""import foldtune
model = foldtune.load_backbone("{base}").model
model.reset_classifier({count})"""
    if hasattr(model, "name_or_path"):
        return f"""from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained(
    "{base}", num_labels={count}, ignore_mismatched_sizes=True
)"""
    return f"""import timm
model = timm.create_model("{base}", pretrained=True, num_classes={count})"""
