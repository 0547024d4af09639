"""PEFT's types whose layers methods of ours hold: their configuration and tensors, there and back.

Reading asks PEFT for the defaults of its options and which layers a configuration names; so it
needs PEFT, as the methods themselves do.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.attachment import Attachment
from foldtune.core.compute.computed import host_class
from foldtune.core.edits import Reweight
from foldtune.core.method import check_settings, settings
from foldtune.core.structure.sites import Site
from foldtune.errors import InputError
from foldtune.interop.peft_tensors import HAVE_A_FORM, check_layer
from foldtune.methods.catalogue import catalogue
from foldtune.methods.hf_peft.held import Held, HeldMethod, Shape, check_installed
from foldtune.torchvision_ops import declare_missing_operators

# They say how a layer starts, what is dropped while training or what PEFT writes: none says what
# is computed of the tensors.
_STARTS = {
    "init_weights", "d_initial", "init_theta_d_bound", "init_logits_std",
    "init_vector_bank_bound", "save_projection", "save_indices", "save_precomputed_indices",
}  # fmt: skip
_DROPPED = "dropout"
# A size that no stored tensor has, such as the rank of a frozen projection, is held up to this.
_LARGEST = 4096


def held_type(kind: Any) -> type[HeldMethod] | None:
    """Our method whose layers are PEFT's of this type; None where there is none."""
    held = (c for c in catalogue().values() if issubclass(c, HeldMethod))
    return next((cls for cls in held if cls.peft_type == kind), None)


def is_held(cls: type[HeldMethod], name: str) -> bool:
    """Whether a tensor of a folder is of this type's layers. Needs PEFT."""
    kind = _peft(cls)
    mapping = importlib.import_module("peft.mapping").PEFT_TYPE_TO_PREFIX_MAPPING
    words = name.split(".")
    return words[-1] in cls.beside or any(word.startswith(mapping[kind]) for word in words)


def refuse_options(cls: type[HeldMethod], config: Mapping[str, Any], silent: set[str]) -> None:
    """Raise InputError for an option that changes what is computed and is no setting of ours."""
    kind = _peft(cls)
    default = importlib.import_module("peft").PEFT_TYPE_TO_CONFIG_MAPPING[kind]()
    ours = {cls.peft_options.get(name, name) for name in settings(cls())}
    known = ours | set(cls().options([(64, 64)])) | (silent - {"bias"}) | _STARTS
    for name, value in config.items():
        empty = value in (None, False, [], {}, "")
        usual = value == getattr(default, name) if hasattr(default, name) else empty
        none = (name, value) == ("bias", "none")
        if not (usual or none or name in known or _DROPPED in name):
            raise InputError(
                f"the adapter uses PEFT's {name} = {value!r}, which is not read of {kind.value}: "
                "it may change what is computed. Merge it with PEFT (merge_and_unload) instead"
            )
    # A word is a start alone where PEFT's default is one (C3A); elsewhere another form (MiSS).
    words = isinstance(getattr(default, "init_weights", True), str)
    if not words and isinstance(config.get("init_weights"), str):
        raise InputError(
            f"the adapter was started by init_weights = {config['init_weights']!r}, which is not "
            "read. Merge it with PEFT (merge_and_unload) instead"
        )


def method_of(
    cls: type[HeldMethod],
    config: Mapping[str, Any],
    targets: tuple[str, ...],
    shapes: Sequence[Shape],
    stored: Mapping[str, Tensor],
) -> HeldMethod:
    """The method that an adapter's configuration spells, on layers of these shapes (out, in).

    Raises InputError where it spells none, where a layer would get another size than PEFT gave it,
    and for sizes that no stored tensor shows.
    """
    values = cls.settings_of(config)
    told = f"the adapter's {cls.peft_type} is not read"
    if any(value is None and name != "alpha" for name, value in values.items()):
        unset = next(cls.peft_options.get(n, n) for n, v in values.items() if v is None)
        raise InputError(
            f"{told}: its {unset} is not set, so what is drawn cannot be drawn again. Merge it "
            "with PEFT (merge_and_unload) instead"
        )
    values["targets"] = targets
    check_settings(cls, values)
    sizes = {n for tensor in stored.values() for n in tensor.shape}
    for name, value in values.items():
        large = isinstance(value, int) and name != "seed" and value > _LARGEST
        if large and value not in sizes:
            raise InputError(f"{told}: its {name} is {value}, and no tensor has that size")
    method = cls(**values)
    for sized in [shapes] if cls.shares else [[shape] for shape in shapes]:
        try:
            options = method.options(sized)
        except (StopIteration, ArithmeticError) as error:
            raise InputError(f"{told}: {values} fit no layer of {sized[0]}") from error
        for name, value in options.items():
            given = config.get(name)
            if isinstance(value, bool) or given is None:
                continue
            if not math.isclose(value, given, abs_tol=1e-12):
                raise InputError(
                    f"{told}: PEFT's {name} = {given!r} would be {value!r} here, on a layer of "
                    f"{sized[0]}. Merge it with PEFT (merge_and_unload) instead"
                )
    return method


def paths_of(
    cls: type[HeldMethod], config: Mapping[str, Any], stored: Mapping[str, Tensor], model: nn.Module
) -> list[str]:
    """The layers that an adapter changes: those of its tensors, or, where all are shared, those
    that PEFT finds by the configuration. In the model's order."""
    names = [name for name, _ in model.named_modules()]
    known = set(names)
    owners = {_owner(name, known) for name in stored if name not in cls.beside}
    if "" in owners:
        odd = next(n for n in stored if n not in cls.beside and not _owner(n, known))
        raise InputError(
            f"the adapter was made for another model; the first difference is {odd}, which "
            f"{type(model).__name__} does not have"
        )
    if not owners:
        peft: Any = importlib.import_module("peft")
        looked = {
            n: config[n]
            for n in ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
            if config.get(n) is not None
        }
        wanted = peft.PEFT_TYPE_TO_CONFIG_MAPPING[_peft(cls)](**looked)
        found = importlib.import_module("peft.tuners.tuners_utils").check_target_module_exists
        owners = {name for name in names if name and found(wanted, name)}
    return [name for name in names if name in owners]


def check_places(model: nn.Module, sites: Mapping[str, Site], paths: Sequence[str]) -> None:
    """Raise InputError for a layer where ours and PEFT's would not compute the same."""
    for path in paths:
        if path not in sites:
            raise InputError(f"the adapter changes {path}, which is no site of `foldtune sites`")
        check_layer(model, sites[path])
        if not issubclass(host_class(model.get_submodule(path)), nn.Linear):
            raise InputError(f"PEFT's layer at {path} is of a convolution, and none such is read")


def fill_held(attachment: Attachment, stored: Mapping[str, Tensor], where: str) -> None:
    """Copy the stored tensors into the attachment; what is drawn must be what was drawn there.

    Raises InputError for a tensor that is missing, of another shape or value, or has no place.
    """
    used: set[str] = set()
    for path, delta in held_deltas(attachment):
        for name, mine in delta.peft_tensors().items():
            key = f"{path}.{name}" if f"{path}.{name}" in stored else name
            if key not in stored or stored[key].shape != mine.shape:
                there = tuple(stored[key].shape) if key in stored else "absent"
                raise InputError(
                    f"the adapter in {where} does not fit {path}: {name} is {there} in the adapter "
                    f"and {tuple(mine.shape)} here"
                )
            used.add(key)
            with torch.no_grad():
                mine.copy_(stored[key])
        for name, mine in delta.drawn_tensors().items():
            for key in (f"{path}.{name}", name):
                if key not in stored:
                    continue
                used.add(key)
                if not _equal(stored[key], mine):
                    raise InputError(
                        f"cannot read {where}: its {key} is not what {attachment.method!r} draws "
                        "here, or the base's weights are others. Merge it with PEFT "
                        "(merge_and_unload) instead"
                    )
    if left := [name for name in stored if name not in used]:
        raise InputError(f"{attachment.method!r} has no place for the adapter's {left[0]}")


def held_deltas(attachment: Attachment) -> list[tuple[str, Held]]:
    """The layers of PEFT that an attachment holds, each with its path."""
    return [
        (edit.site.path, edit.delta)
        for edit in attachment.edits
        if isinstance(edit, Reweight) and isinstance(edit.delta, Held)
    ]


def held_config(attachment: Attachment) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """PEFT's options for the held layers of an attachment, and their tensors by PEFT's names: of a
    layer behind its path, what all share by the name alone.

    Raises InputError where one configuration of PEFT cannot say what the layers are.
    """
    (method,) = (part for part in attachment.method.parts if isinstance(part, HeldMethod))
    options: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    deltas = list(held_deltas(attachment))
    shapes = [delta.layer.base_layer.shape for _, delta in deltas]
    for sized in [shapes] if method.shares else [[shape] for shape in shapes]:
        found = dict(method.options(sized))
        odd = next((n for n in found if options and options[n] != found[n]), None)
        if odd is not None:
            raise InputError(
                f"{method!r} has no PEFT form: PEFT's one {odd} is {options[odd]} for one layer "
                f"and {found[odd]} for another. {HAVE_A_FORM}"
            )
        options = found
    for path, delta in deltas:
        kept = delta.peft_tensors()
        drawn = {
            n: t for n, t in delta.drawn_tensors().items() if n in (*delta.saved, *method.beside)
        }
        for name, tensor in {**kept, **drawn}.items():
            tensors[name if name in method.beside else f"{path}.{name}"] = tensor
    return {"peft_type": method.peft_type, **options}, tensors


def _owner(name: str, modules: set[str]) -> str:
    """The longest path of a module that `name` begins with; empty for none."""
    words = name.split(".")
    starts = (".".join(words[:i]) for i in range(len(words) - 1, 0, -1))
    return next((start for start in starts if start in modules), "")


def _equal(stored: Tensor, mine: Tensor) -> bool:
    if stored.shape != mine.shape:
        return False
    if mine.is_floating_point():  # lengths of columns, which another processor rounds otherwise
        return torch.allclose(stored.to(mine), mine, rtol=1e-5, atol=1e-7)
    return torch.equal(stored.to(mine), mine)


def _peft(cls: type[HeldMethod]) -> Any:
    """PEFT's own name of the type."""
    check_installed(cls.__name__)
    declare_missing_operators()
    return importlib.import_module("peft").PeftType[cls.peft_type]
