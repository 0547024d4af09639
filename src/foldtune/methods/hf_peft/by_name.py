"""A method by HF PEFT's own names, `Peft("vera", r=64)`, and why some of its types are none."""

from __future__ import annotations

from typing import Any

from foldtune.core.method import Method, check_settings, settings
from foldtune.errors import InputError, unknown_name
from foldtune.methods.catalogue import catalogue

# Types of PEFT that are methods of our own.
_OURS = {"LORA": "LoRA", "IA3": "IA3", "LN_TUNING": "LayerNorm", "BEFT": "BitFit"}
_TEXT = "it works on tokens of text; VPTShallow and VPTDeep are prompts for images"
_ROUTED = "it weighs several adapters by the input, which no stored matrix can hold"
_DECOMPOSED = (
    "its frozen factors are a singular value decomposition of the weights, which another processor "
    "gives with other signs, so that a saved tuning would be another model there; "
    "LoRA(start='pissa') starts from one and keeps it"
)
# The others, each with the reason.
_NO_METHOD = {
    **dict.fromkeys(
        ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT",
         "ADAPTION_PROMPT", "CARTRIDGE", "TRAINABLE_TOKENS", "SHADOW"), _TEXT,
    ),
    **dict.fromkeys(("XLORA", "POLY", "LILY"), _ROUTED),
    **dict.fromkeys(("PSOFT", "TINYLORA", "ADAMSS", "OSF", "FROD"), _DECOMPOSED),
    "ADALORA": "it takes ranks away while training, by a schedule that only its own trainer keeps; "
    "take LoRA or DeLoRA",
    "PVERA": "it draws noise from the features at every step; without that it is VeRA",
    "DEFT": "it starts where two products cancel that PEFT makes in single precision",
}  # fmt: skip


def Peft(kind: str, **options: Any) -> Method:
    """The method whose layers are HF PEFT's of type `kind`, its options by PEFT's names.

    `Peft("vera", r=64)` is `VeRA(rank=64)`, and this is how it prints and is kept; `targets` takes
    the place of `target_modules`. Raises InputError, with the reason, for a type that is no method
    for images, and for an option that is not offered.
    """
    wanted = kind.upper()
    if wanted in _OURS:
        name = _OURS[wanted]
        raise InputError(f"Peft({kind!r}) is foldtune's own {name}; write {name}(...)")
    if wanted in _NO_METHOD:
        raise InputError(f"Peft({kind!r}) cannot tune a vision backbone here: {_NO_METHOD[wanted]}")
    known: dict[str, Any] = {c.peft_type: c for c in _held_methods()}
    if wanted not in known:
        raise unknown_name("type of PEFT", kind, sorted(n.lower() for n in known))
    cls = known[wanted]
    names = {cls.peft_options.get(n, n): n for n in settings(cls())}
    values: dict[str, Any] = {}
    for option, value in options.items():
        if option not in names:
            raise unknown_name(f"option of Peft({kind!r})", option, sorted(names))
        values[names[option]] = value
    check_settings(cls, values)
    made: Method = cls(**values)
    return made


def _held_methods() -> list[Any]:
    return [cls for cls in catalogue().values() if cls.library == "peft"]
