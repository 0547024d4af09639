"""What a folder of a PEFT adapter holds, read without executing anything of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from foldtune.backbones.weights import read_state
from foldtune.core.header import checked_header
from foldtune.errors import InputError
from foldtune.interop.peft_held import held_type, is_held
from foldtune.interop.peft_options import check_options, checked_config
from foldtune.interop.peft_tensors import BESIDE, CONFIG, NOTE, PREFIX, TENSORS

_PART = re.compile(
    r"(?P<path>.+)\.(?P<name>lora_A|lora_B|lora_magnitude_vector|lora_embedding_[AB]|ia3_l)"
    r"(\.weight)?(?P<rest>\..+)?"
)


@dataclass(frozen=True)
class PeftAdapter:
    """What a folder holds.

    config: PEFT's. parts: tensors of each wrapped layer, as stored, by path and PEFT's name. held:
    those of types whose layers methods of ours hold, by PEFT's whole name. plain: other tensors by
    their name in the base (classifier, norms, biases). header: of the tuning, where foldtune wrote
    the folder; else empty.
    """

    folder: Path
    config: dict[str, Any]
    parts: dict[str, dict[str, Tensor]]
    plain: dict[str, Tensor]
    header: dict[str, Any]
    held: dict[str, Tensor] = field(default_factory=dict)

    @property
    def base(self) -> str | None:
        """The backbone's name, if PEFT knew one."""
        name = self.config.get("base_model_name_or_path")
        return name.removeprefix("timm/") if name else None


def read_adapter(folder: str | Path) -> PeftAdapter:
    """Read a folder that PEFT's `save_pretrained` or `to_peft` wrote.

    Raises InputError for a missing or damaged folder, for types of PEFT other than LoRA (DoRA),
    IA3, LN tuning and those of `foldtune.methods.hf_peft`, and for options that change what these
    compute.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise InputError(f"no PEFT adapter at {folder}: it holds no {CONFIG}")
    config = checked_config(folder / CONFIG)
    check_options(config["peft_type"], config)
    tensors, header = _tensors(folder)
    parts: dict[str, dict[str, Tensor]] = {}
    plain: dict[str, Tensor] = {}
    held: dict[str, Tensor] = {}
    kind = held_type(config["peft_type"])
    for name, tensor in tensors.items():
        name = name.removeprefix(PREFIX).replace(".modules_to_save.", ".")
        if ".original_module." in name:  # the classifier as it was before training
            continue
        if kind is not None and is_held(kind, name):
            held[name.removeprefix(BESIDE)] = tensor
            continue
        found = _PART.fullmatch(name)
        if found is None:
            for wrapper in (".base_layer.", ".ln_tuning_layers."):
                name = name.replace(wrapper, ".")
            plain[name] = tensor
        elif found["rest"] or found["name"].startswith("lora_embedding"):
            raise InputError(
                f"cannot read {folder}: {name} is no LoRA of a Linear or 1x1 convolution"
            )
        else:
            parts.setdefault(found["path"], {})[found["name"]] = tensor
    return PeftAdapter(folder, config, parts, plain, header, held)


def _tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = folder / TENSORS
    if not path.is_file():
        return read_state(folder / "adapter_model.bin"), {}
    try:
        with safe_open(path, "pt") as file:
            note = (file.metadata() or {}).get(NOTE)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); copy it again") from error
    return tensors, {} if note is None else checked_header(note, str(path))
