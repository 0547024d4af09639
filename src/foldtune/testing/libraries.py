"""The same sweep over timm, what transformers maps to image classification, and open_clip's towers.

Every architecture as its configuration has it (transformers: the defaults), on the meta device, so
that the largest costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from foldtune.backbones.open_clip_models import ImageTower, import_open_clip
from foldtune.errors import InputError
from foldtune.testing.families import Family, Host, examine, families, timm_host

_SIDE = 224  # where a configuration names none


@dataclass(frozen=True)
class Source:
    """A library of backbones. families: its architectures by family; host: builds one of them."""

    families: Callable[[], dict[str, list[str]]]
    host: Callable[[str], Host]

    def sweep(self, name: str) -> Family:
        """One architecture. Raises InputError where nothing can stand on it."""
        return examine(name, *self.host(name))


def transformers_families() -> dict[str, list[str]]:
    """The model types that transformers maps to a class for image classification, each alone."""
    return {kind: [kind] for kind in sorted(_class_names())}


def transformers_host(kind: str) -> Host:
    """The classifier of a model type as its default configuration has it.

    Raises InputError where it needs a library that is not installed.
    """
    import transformers

    names = _class_names()[kind]
    name = names if isinstance(names, str) else names[0]
    config = transformers.CONFIG_MAPPING[kind]()
    try:
        with torch.device("meta"):
            model: nn.Module = getattr(transformers, name)(config)
    except ImportError as error:
        reason = str(error).strip().splitlines()[0].partition(". ")[0]
        raise InputError(reason) from error
    return model.eval(), _images(config)


def open_clip_families() -> dict[str, list[str]]:
    """open_clip's models by the visual tower: its own ViT and ResNet, or a module of timm."""
    library = import_open_clip()
    found: dict[str, list[str]] = {}
    for name in sorted(library.list_models()):
        found.setdefault(_tower(library.get_model_config(name)["vision_cfg"]), []).append(name)
    return found


def open_clip_host(name: str) -> Host:
    """The visual tower of an open_clip model, with the classifier that `ImageTower` gives it."""
    library: Any = import_open_clip()
    config = library.get_model_config(name)
    with torch.device("meta"):
        visual = library.model._build_vision_tower(
            config["embed_dim"], config["vision_cfg"], config.get("quick_gelu", False)
        )
        model = ImageTower(visual)
        model.head = nn.Linear(config["embed_dim"], 2)
    return model.eval(), model.pretrained_cfg["input_size"]


SOURCES = {
    "timm": Source(families, timm_host),
    "transformers": Source(transformers_families, transformers_host),
    "open_clip": Source(open_clip_families, open_clip_host),
}


def _class_names() -> dict[str, Any]:
    from transformers.models.auto import modeling_auto

    return dict(modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)


def _images(config: Any) -> tuple[int, int, int]:
    """Channels, height and width; those of the vision tower where the configuration is of two."""
    config = getattr(config, "vision_config", None) or config
    size = getattr(config, "image_size", None) or _SIDE
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(getattr(config, "num_channels", 3)), int(height), int(width)


def _tower(vision: dict[str, Any]) -> str:
    """What a tower is made of, its sizes aside."""
    name = vision.get("timm_model_name")
    if name:
        from timm.models import model_entrypoint

        module = model_entrypoint(name).__module__.rpartition(".")[2]
        return f"timm {module}, pooled by {vision.get('timm_pool') or 'its own'}"
    if isinstance(vision.get("layers"), list | tuple):
        return "resnet"
    kinds = {"attentional_pool": "attentional pool", "no_ln_pre": "CLIPA", "ls_init_value": "scale"}
    return ", ".join(["vit", *(told for key, told in kinds.items() if vision.get(key))])
